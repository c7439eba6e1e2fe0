"""How many runs a worker pays for before a poll of their account is answered."""

from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Final

from jobs.admission import Pick
from jobs.holds import Hold
from jobs.job import Job
from jobs.lanes import Lane
from jobs.outcomes import CallFailure, PollOutcome
from worker.engine.wakeups import Wakeup

MIN_LIMIT: Final = 10
"""Runs that may be unproved at once also where fewer are submitted at once."""

ASK_AT: Final = 4
"""From one unproved run in so many on, the account is polled: well before submits have to wait."""

RATE_LIMITED: Final = 429


def is_answer(outcome: PollOutcome) -> bool:
    """Whether an answer shows that runs of the account can be polled.

    A 429 does, since rate limits are those of a user; a refusal, a page and a server error do not.
    """
    return not isinstance(outcome, CallFailure) or outcome.http_status == RATE_LIMITED


class PollProof:
    """Counts by account the runs accepted since a poll was last answered, in this worker.

    A key that may submit but not poll pays for no more than `limit` runs. A delivery of a webhook
    counts as an answer: the end of runs is known by it.
    """

    def __init__(self, limit: int, admission: Wakeup) -> None:
        self._limit = max(MIN_LIMIT, limit)
        self._admission = admission
        self._under_way: Counter[str] = Counter()
        self._unproved: Counter[str] = Counter()
        self._last: dict[str, Job] = {}
        self.waiting_holds: tuple[Hold, ...] = ()
        """Released holds behind which jobs wait for a poll, as admission saw them last."""
        self.wakeup = Wakeup()
        """Notified when an account has to be polled."""

    def left(self, account: str) -> int:
        """How many more runs of an account may be submitted now."""
        return max(0, self._limit - self._unproved[account] - self._under_way[account])

    def within(self, picks: Sequence[Pick], sync_only: Collection[Lane]) -> list[Pick]:
        """The picks without those of more async submits of an account than it has left."""
        taken: Counter[str] = Counter()
        kept: list[Pick] = []
        for pick in picks:
            account = pick.lane.account
            if pick.lane in sync_only or taken[account] < self.left(account):
                kept.append(pick)
                taken[account] += pick.lane not in sync_only
        return kept

    @property
    def blocked(self) -> tuple[str, ...]:
        """Accounts whose submits wait for an answered poll."""
        return tuple(sorted(a for a, count in self._unproved.items() if count >= self._limit))

    @contextmanager
    def submit_under_way(self, account: str) -> Generator[None]:
        """Count an async submit until its outcome is on record."""
        self._under_way[account] += 1
        try:
            yield
        finally:
            self._under_way[account] -= 1

    def record_accepted(self, job: Job) -> None:
        """Count a run that was accepted and has to be polled."""
        self._unproved[job.account] += 1
        self._last[job.account] = job
        if self._has_to_be_polled(job.account):
            self.wakeup.notify()

    def record_poll(self, account: str, outcome: PollOutcome) -> None:
        """Note the outcome of a poll; an answer starts the count anew."""
        if is_answer(outcome):
            self._prove(account)

    def record_delivery(self, account: str) -> None:
        """Note that a webhook reported the end of a run."""
        self._prove(account)

    def _prove(self, account: str) -> None:
        if not self._unproved[account]:
            return
        was_blocked = self._unproved[account] >= self._limit
        del self._unproved[account], self._last[account]
        if was_blocked:
            self._admission.notify()

    def runs_to_poll(self) -> list[Job]:
        """The newest run of each account that has to be polled."""
        return [job for account, job in self._last.items() if self._has_to_be_polled(account)]

    def _has_to_be_polled(self, account: str) -> bool:
        return self._unproved[account] * ASK_AT >= self._limit
