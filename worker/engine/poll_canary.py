"""Opens a released hold whose canary is a poll: once a paid run of its account can be fetched."""

from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from jobs.holds import Canary, Gates, Hold, HoldPhase
from jobs.job import Job
from jobs.outcomes import CallFailure, PollOutcome
from worker.engine.completion import Completion
from worker.engine.paid_runs import paid_runs
from worker.engine.worker_parts import WorkerContext

log: Final = structlog.get_logger(__name__)


class PollCanary:
    """Watches the polls of the accounts whose hold was released."""

    def __init__(self, context: WorkerContext, completion: Completion) -> None:
        self._store = context.store
        self._clock = context.clock
        self._wakeups = context.wakeups
        self._completion = completion
        self._to_prove: Mapping[str, Hold] = {}

    def observe(self, gates: Gates, accounts: Iterable[str]) -> None:
        """Note which of these accounts have a hold that a poll proves open once it is released.

        Also one that is closed yet: `gates` may be a little older than its release.
        """
        if not gates.holds:
            self._to_prove = {}
            return
        found = {account: gates.polled_hold(account) for account in accounts}
        self._to_prove = {account: hold for account, hold in found.items() if hold is not None}

    async def record(self, job: Job, outcome: PollOutcome) -> None:
        """Open the hold if the provider answered; then poll every paid run of the account now."""
        hold = self._to_prove.get(job.account)
        if hold is None or isinstance(outcome, CallFailure):
            return
        left = await self._completion.retry_while_down(
            self._store.holds.change, hold.key, _removed_if_released
        )
        if left is not None:
            return
        log.info("hold.opened", scope=hold.scope, code=hold.code, hold_id=hold.id, by="poll")
        self._wakeups.admission.notify()
        await self._store.lanes.notify(hold.scope)
        async for ids in paid_runs(self._store.jobs, job.account):
            await self._store.polls.make_due(ids, self._clock.now())
        self._wakeups.poller.notify()


def _removed_if_released(hold: Hold | None) -> Hold | None:
    """No hold; itself if a refusal closed it again meanwhile."""
    if hold is None or (hold.phase is HoldPhase.OPENING and hold.canary is Canary.POLL):
        return None
    return hold
