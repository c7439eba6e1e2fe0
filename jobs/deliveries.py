"""How long deliveries of webhooks are kept, and when the job of one is looked up again."""

from typing import Final

ORPHAN_RETENTION_S: Final = 7 * 86_400
"""How long a delivery that matches no job is kept."""

RUN_END_MEMORY_S: Final = 86_400
"""How long the end of a run is remembered, so that a repeated delivery of it changes nothing."""

MATCH_RETRY_FOR_S: Final = 600.0
"""How long a delivery is matched again by itself: the response to its submit may still be on the
way, for as long as the submit's timeout. After that only an operator attaches it to a job."""

MIN_MATCH_RETRY_S: Final = 1.0


def next_match_at(received_at: float, now: float) -> float | None:
    """When to look up the job of a delivery again, Unix seconds: the wait doubles its age.

    None once it is older than `MATCH_RETRY_FOR_S`.
    """
    age = now - received_at
    return now + max(MIN_MATCH_RETRY_S, age) if age <= MATCH_RETRY_FOR_S else None
