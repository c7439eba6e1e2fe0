"""Whether a full Redis evicts keys, which loses jobs beside a system that says all is well."""

from typing import Final

EVICTION: Final = "redis_eviction"
"""The name of the problem in the health of a worker."""
EVICTION_FIX: Final = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"


def eviction_problem(policy: str) -> dict[str, str]:
    """The problem as name → text; none for an empty policy, which evicts nothing."""
    if not policy:
        return {}
    text = f"Redis evicts keys when it is full (maxmemory-policy {policy}), and with them jobs"
    return {EVICTION: text}
