"""Bulk actions that may take longer than a request: they run in the background.

The audit log records what a run did, however it ends. An interrupted run can be repeated safely:
it skips jobs that are done. Only the process that runs one knows its progress.
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
"""Runs whose progress is kept, the newest."""

MAX_RUNNING: Final = 4
"""Runs at the same time: each one loads Redis fully."""


@dataclass(slots=True)
class BackgroundBulk:
    """One bulk action, or its preview."""

    id: str
    request: BulkRequest
    form_fields: Mapping[str, str]
    """The fields of the form that starts the run after a preview."""
    ids: tuple[str, ...]
    started_at: float
    expected_jobs: int | None = None
    """Number of jobs to expect, for the progress bar; None where it is unknown."""
    counts: BulkCounts = field(default_factory=BulkCounts)
    ended_at: float | None = None
    error: str = ""

    @property
    def action(self) -> BulkAction:
        """The action of the request."""
        return self.request.action

    @property
    def is_dry_run(self) -> bool:
        """Whether it is a preview: it counts, and changes nothing."""
        return self.request.dry_run


class BackgroundBulks:
    """The bulk runs of one process."""

    def __init__(self, bulk: BulkActions, clock: Clock) -> None:
        self._bulk = bulk
        self._clock = clock
        self._runs: OrderedDict[str, BackgroundBulk] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def find(self, run_id: str) -> BackgroundBulk | None:
        """A run of this process; None if it is unknown or no longer kept."""
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
        """Start a run, and return it when it has ended, at the latest after `wait_s` seconds.

        Raises `Problem` (429) while `MAX_RUNNING` runs are in progress.
        """
        if len(self._tasks) >= MAX_RUNNING:
            detail = f"{MAX_RUNNING} bulk actions are running: wait until one ends"
            raise Problem(429, "slow-down", "Too many bulk actions", detail)
        run = BackgroundBulk(
            secrets.token_hex(8),
            request,
            form_fields,
            ids,
            self._clock.now(),
            expected_jobs=expected_jobs,
        )
        self._runs[run.id] = run
        while len(self._runs) > MAX_KEPT:
            self._runs.popitem(last=False)
        task = asyncio.create_task(self._run(run, actor))
        self._tasks[run.id] = task
        await asyncio.wait([task], timeout=wait_s)
        return run

    async def _run(self, run: BackgroundBulk, actor: Actor) -> None:
        try:
            await self._bulk.run(run.request, actor, run.counts)
        except Exception as error:  # noqa: BLE001 - any error is shown on the page
            problem = problem_of(error)
            run.error = problem.detail if problem else "an internal error, see the log"
        finally:
            run.ended_at = self._clock.now()
            self._tasks.pop(run.id, None)

    async def close(self) -> None:
        """Cancel the runs; the audit log records what they did."""
        for task in list(self._tasks.values()):
            await cancel_and_wait(task)


BACKGROUND_BULKS: Final = web.AppKey("background_bulks", BackgroundBulks)
