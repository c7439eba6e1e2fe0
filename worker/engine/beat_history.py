"""Whether this worker's own heartbeats came in time, so that it may judge others by theirs."""

import math


class BeatHistory:
    """The heartbeats of this worker.

    While Redis does not answer, no worker can extend a lease. A worker whose own beats were late
    waits for the length of a lease, in which the others extend theirs; so does one that has just
    started, since it does not know what was before. Times are Unix seconds.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._last = -math.inf
        self._regular_since = math.inf

    def record(self, now: float) -> None:
        """Note a beat that Redis has just answered.

        Beats come three times a lease. Up to half a lease between two of them, the leases of all
        workers outlast the gap.
        """
        if not self._is_recent(now):
            self._regular_since = now
        self._last = now

    def may_judge(self, now: float) -> bool:
        """Whether a lease that has run out by now tells that its worker is gone."""
        return self._is_recent(now) and now - self._regular_since >= self._lease_s

    def _is_recent(self, now: float) -> bool:
        return 0 <= now - self._last <= self._lease_s / 2
