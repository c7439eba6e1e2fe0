"""Whether replicas confirm the marks of submits: `KNOUDS_REDIS_WAIT_REPLICAS` asks for that."""

import math
from typing import Final

import structlog

from worker.clock import Clock
from worker.store.client import Client, Durability

log: Final = structlog.get_logger(__name__)

MAX_PAUSE_S: Final = 3.0
"""The longest pause of admission after a send mark that no replica confirmed."""
SHOWN_FOR_S: Final = 30.0
"""Without a further mark for so long, nothing waits for a replica."""

REPLICAS: Final = "redis_replicas"
"""The name of the problem in the health of a worker; so is the one below."""
REPLICAS_TEXT: Final = (
    "fewer replicas than KNOUDS_REDIS_WAIT_REPLICAS confirm a write within KNOUDS_REDIS_WAIT_MS, so"
    " it submits nothing"
)
REPLICAS_FIX: Final = (
    "bring the replicas back, raise KNOUDS_REDIS_WAIT_MS, or lower KNOUDS_REDIS_WAIT_REPLICAS"
)
WAIT_REFUSED: Final = "redis_wait"
WAIT_REFUSED_FIX: Final = (
    "let the user of KNOUDS_REDIS_URL run WAIT: ACL SETUSER, its name, +wait, and ACL SAVE or the"
    " same in users.acl; or set KNOUDS_REDIS_WAIT_REPLICAS=0"
)


class ReplicaMarks:
    """Pauses admission while send marks are not confirmed, longer each time."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._unconfirmed = 0
        """Send marks in a row that too few replicas confirmed."""
        self._unconfirmed_at = -math.inf
        self.paused_until = 0.0
        """Nothing is admitted before, in Unix seconds."""

    def record(self, durability: Durability | None) -> bool:
        """Note whether a replica has a send mark; returns whether its submit may be sent.

        Without a replica that has it, a failover would put the job back in the queue while its
        run is paid for. So nothing is admitted for a while.
        """
        if durability is not Durability.UNCONFIRMED:
            if self._unconfirmed:
                log.info("redis.replicas_confirm", unconfirmed=self._unconfirmed)
            self._unconfirmed = 0
            return True
        now = self._clock.now()
        self._unconfirmed += 1
        self._unconfirmed_at = now
        if self._unconfirmed == 1:
            refusal = self._client.wait_refusal
            why, fix = (
                (wait_refused_text(refusal), WAIT_REFUSED_FIX)
                if refusal
                else (REPLICAS_TEXT, REPLICAS_FIX)
            )
            log.warning("redis.replicas_silent", why=why, fix=fix)
        pause_s = min(MAX_PAUSE_S, 2.0 ** min(self._unconfirmed - 1, 10))
        self.paused_until = max(self.paused_until, now + pause_s)
        return False

    def problems(self, now: float) -> dict[str, str]:
        """What keeps this worker from submitting: name → text."""
        if not self._unconfirmed or now - self._unconfirmed_at >= SHOWN_FOR_S:
            return {}
        if refusal := self._client.wait_refusal:
            return {WAIT_REFUSED: wait_refused_text(refusal)}
        return {REPLICAS: REPLICAS_TEXT}


def wait_refused_text(refusal: str) -> str:
    """Why nothing is submitted where Redis refuses `WAIT`."""
    return f"Redis refuses its user WAIT ({refusal}), so it submits nothing"
