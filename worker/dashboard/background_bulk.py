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
from worker.app.actions import Person
from worker.app.bulk import Bulk
from worker.app.bulk_request import Act, Counts, Order
from worker.clock import Clock
from worker.tasks import end

KEPT: Final = 100
"""Errands that are remembered, the latest."""

UNDER_WAY_MOST: Final = 4
"""Errands that run at once: each reads and writes for all it is worth."""


@dataclass(slots=True)
class Errand:
    """One act on many jobs, or its trial."""

    id: str
    order: Order
    fields: Mapping[str, str]
    """What the form said: to be sent once more, for good."""
    ids: tuple[str, ...]
    began: float
    expected: int | None = None
    """How many jobs the trial found."""
    counts: Counts = field(default_factory=Counts)
    ended: float | None = None
    fault: str = ""

    @property
    def act(self) -> Act:
        """What is done."""
        return self.order.act

    @property
    def is_trial(self) -> bool:
        """Whether it only counts."""
        return self.order.dry_run


class Errands:
    """The errands of one process."""

    def __init__(self, bulk: Bulk, clock: Clock) -> None:
        self._bulk = bulk
        self._clock = clock
        self._known: OrderedDict[str, Errand] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def find(self, errand_id: str) -> Errand | None:
        """An errand of this process, while it is remembered."""
        return self._known.get(errand_id)

    async def start(
        self,
        order: Order,
        person: Person,
        *,
        fields: Mapping[str, str],
        ids: tuple[str, ...],
        expected: int | None,
        within_s: float,
    ) -> Errand:
        """Begin one, and return it when it has ended or `within_s` is over."""
        if len(self._tasks) >= UNDER_WAY_MOST:
            detail = f"{UNDER_WAY_MOST} acts on many jobs are under way: wait for one to end"
            raise Problem(429, "slow-down", "Too much at once", detail)
        errand = Errand(
            secrets.token_hex(8), order, fields, ids, self._clock.now(), expected=expected
        )
        self._known[errand.id] = errand
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        task = asyncio.create_task(self._run(errand, person))
        self._tasks[errand.id] = task
        await asyncio.wait([task], timeout=within_s)
        return errand

    async def _run(self, errand: Errand, person: Person) -> None:
        try:
            await self._bulk.act(errand.order, person, errand.counts)
        except Exception as error:  # noqa: BLE001 - told on the page, whatever it is
            problem = problem_of(error)
            errand.fault = problem.detail if problem else "a fault of ours ended it"
        finally:
            errand.ended = self._clock.now()
            self._tasks.pop(errand.id, None)

    async def close(self) -> None:
        """End what runs; it is on record with what it did."""
        for task in list(self._tasks.values()):
            await end(task)


ERRANDS: Final = web.AppKey("errands", Errands)
