"""Compares requests for runs with what is known of their lanes, and estimates what they cost.

It costs no round trip on the good path: facts of a lane are kept for `FACTS_TTL_S` and shared by
all requests of this process. Without facts, or without Redis, nothing is known or refused.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from jobs.lanes import Lane
from jobs.states import Kind
from jobs.workflows import EnqueueWarning, check_inputs, check_workflow
from worker.app.enqueue import InvalidRequest, RunPreview
from worker.app.extras import extra_or
from worker.clock import Clock
from worker.engine.cost_estimator import CostEstimator
from worker.store.codec import DECODE_ERRORS
from worker.store.lane_facts import NOTHING_KNOWN, LaneFacts, LaneFactsStore

FACTS_TTL_S: Final = 30.0
MAX_LANES: Final = 10_000
"""Lanes whose facts are kept, those used last."""

_names: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class EnqueueCheckMode(StrEnum):
    """What becomes of a request that differs from what is known: `KNOUDS_ENQUEUE_CHECKS`."""

    OFF = "off"
    """Nothing is compared."""
    WARN = "warn"
    """It is taken, and its answer has warnings."""
    REFUSE = "refuse"


class _Known(NamedTuple):
    """What is known of a lane, and when that was read."""

    read_at: float
    facts: LaneFacts
    est_cost: float | None


class EnqueueChecks:
    """The checks of one process."""

    def __init__(
        self,
        facts: LaneFactsStore,
        clock: Clock,
        estimator: CostEstimator,
        mode: EnqueueCheckMode,
    ) -> None:
        self._store = facts
        self._clock = clock
        self._estimator = estimator
        self._mode = mode
        self._known: OrderedDict[Lane, _Known] = OrderedDict()
        self._lock = asyncio.Lock()

    async def preview(self, lane: Lane, inputs: bytes) -> RunPreview:
        """What a run of a lane with these inputs (a JSON object) costs, and what is wrong with it.

        Raises `InvalidRequest` where the mode is to refuse what differs from what is known.
        """
        await self.load([lane])
        known = self._known.get(lane)
        if known is None:
            return RunPreview(self._estimator.estimate(NOTHING_KNOWN))
        warnings = self._compare(lane, inputs, known.facts)
        if warnings and self._mode is EnqueueCheckMode.REFUSE:
            raise InvalidRequest(warnings[0].field, warnings[0].message)
        return RunPreview(known.est_cost, warnings)

    async def load(self, lanes: Collection[Lane]) -> None:
        """Read the facts of those lanes that have none, or old ones, in one round trip."""
        if not self._unknown(lanes):
            return
        async with self._lock:  # what one request reads, those that wait for it need not
            wanted = self._unknown(lanes)
            if wanted:
                await extra_or(None, self._read(wanted))

    async def _read(self, lanes: Collection[Lane]) -> None:
        now = self._clock.now()
        for lane, facts in (await self._store.read(lanes, now, enqueuing=True)).items():
            self._known[lane] = _Known(now, facts, self._estimator.estimate(facts))
            self._known.move_to_end(lane)
        while len(self._known) > MAX_LANES:
            self._known.popitem(last=False)

    def _unknown(self, lanes: Collection[Lane]) -> list[Lane]:
        now = self._clock.now()
        return [
            lane
            for lane in lanes
            if (known := self._known.get(lane)) is None
            or not 0 <= now - known.read_at < FACTS_TTL_S
        ]

    def _compare(self, lane: Lane, inputs: bytes, facts: LaneFacts) -> tuple[EnqueueWarning, ...]:
        if self._mode is EnqueueCheckMode.OFF or lane.kind is not Kind.WORKFLOW:
            return ()
        found, warnings = facts.workflow, list[EnqueueWarning]()
        if found.workflow is not None or found.list_read_at is not None:
            age_s = max(0.0, self._clock.now() - (found.list_read_at or 0.0))
            warnings += check_workflow(found.workflow, lane.target, lane.account, age_s)
            if found.workflow is None:
                return tuple(warnings)  # what a workflow takes that is gone is of no use
        if found.schema.fields or found.schema.is_complete:
            warnings += check_inputs(_names_of(inputs), found.schema)
        return tuple(warnings)


def _names_of(inputs: bytes) -> Collection[str]:
    """The names in a JSON object; none of what is unreadable."""
    try:
        return _names.decode(inputs)
    except DECODE_ERRORS:
        return ()
