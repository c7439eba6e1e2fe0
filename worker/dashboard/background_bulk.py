"""Acts on many jobs that may outlast a request: run beside it, seen as they go on.

What such an act did is on record (the audit) however it ends, and an act that broke off is simply
repeated: jobs it reached are not met again. Errands are known to the process that runs them.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from worker.api.problems import Problem, problem_of
from worker.app.actions import Actor
from worker.app.bulk import BulkActions
from worker.app.bulk_request import BulkAction, BulkCounts, BulkRequest
from worker.clock import Clock
from worker.tasks import cancel_and_wait

MAX_KEPT: Final = 100
"""Errands that are remembered, the latest."""

MAX_RUNNING: Final = 4
"""Errands that run at once: each reads and writes for all it is worth."""


@dataclass(slots=True)
class BackgroundBulk:
    """One act on many jobs, or its trial."""

    id: str
    request: BulkRequest
    form_fields: Mapping[str, str]
    """What the form said: to be sent once more, for good."""
    ids: tuple[str, ...]
    started_at: float
    expected_jobs: int | None = None
    """How many jobs the trial found."""
    counts: BulkCounts = field(default_factory=BulkCounts)
    ended_at: float | None = None
    error: str = ""

    @property
    def action(self) -> BulkAction:
        """What is done."""
        return self.request.action

    @property
    def is_dry_run(self) -> bool:
        """Whether it only counts."""
        return self.request.dry_run


class BackgroundBulks:
    """The errands of one process."""

    def __init__(self, bulk: BulkActions, clock: Clock) -> None:
        self._bulk = bulk
        self._clock = clock
        self._runs: OrderedDict[str, BackgroundBulk] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def find(self, run_id: str) -> BackgroundBulk | None:
        """An errand of this process, while it is remembered."""
        return self._runs.get(run_id)

    async def start(
        self,
        request: BulkRequest,
        actor: Actor,
        *,
        form_fields: Mapping[str, str],
        ids: tuple[str, ...],
        expected_jobs: int | None,
        wait_s: float,
    ) -> BackgroundBulk:
        """Begin one, and return it when it has ended or `within_s` is over."""
        if len(self._tasks) >= MAX_RUNNING:
            detail = f"{MAX_RUNNING} acts on many jobs are under way: wait for one to end"
            raise Problem(429, "slow-down", "Too much at once", detail)
        errand = BackgroundBulk(
            secrets.token_hex(8),
            request,
            form_fields,
            ids,
            self._clock.now(),
            expected_jobs=expected_jobs,
        )
        self._runs[errand.id] = errand
        while len(self._runs) > MAX_KEPT:
            self._runs.popitem(last=False)
        task = asyncio.create_task(self._run(errand, actor))
        self._tasks[errand.id] = task
        await asyncio.wait([task], timeout=wait_s)
        return errand

    async def _run(self, run: BackgroundBulk, actor: Actor) -> None:
        try:
            await self._bulk.run(run.request, actor, run.counts)
        except Exception as error:  # noqa: BLE001 - told on the page, whatever it is
            problem = problem_of(error)
            run.error = problem.detail if problem else "a fault of ours ended it"
        finally:
            run.ended_at = self._clock.now()
            self._tasks.pop(run.id, None)

    async def close(self) -> None:
        """End what runs; it is on record with what it did."""
        for task in list(self._tasks.values()):
            await cancel_and_wait(task)


BACKGROUND_BULKS: Final = web.AppKey("errands", BackgroundBulks)
