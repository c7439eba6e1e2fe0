"""What the newest runs of each target cost, in credits.

Costs are noted in memory and written together, so that a run needs no command of its own. Readers
take one number a target: it is worked out when costs are written.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from jobs.credits.estimates import MAX_COSTS, recent_cost
from jobs.job import Job
from jobs.lanes import target_name
from jobs.states import State
from worker.store.client import Client, Command, numbers
from worker.store.keys import Keys

WRITE_INTERVAL_S: Final = 10.0
"""How often a process writes what it noted."""

RETENTION_S: Final = 30 * 86_400
"""Redis removes the costs of a target after so long without a run; the last number stays."""

MAX_NOTED_TARGETS: Final = 1_000
"""Targets that a process notes costs of between two writes; of more the costs are not kept."""

Target = str
"""`kind/target`, as `model/gpt-image-2`: what a run costs does not depend on the account."""


class CostStore:
    """The costs of one namespace, and those that this process has not written yet."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._noted: dict[Target, deque[float]] = {}
        self._written_at = float("-inf")
        self._known: set[Target] = set()
        """Targets that this process has noted a cost of."""

    def note_run(self, before: Job, after: Job) -> None:
        """Note what the run of a job cost that has succeeded, once that is known.

        An answer tells it with the end of the run, the provider's list of runs some time later.
        """
        cost = after.attempts[-1].cost if after.attempts else None
        was_known = before.state is State.SUCCEEDED and before.attempts[-1].cost is not None
        if after.state is State.SUCCEEDED and cost is not None and not was_known:
            self.note(target_name(after.kind, after.target), cost)

    def note(self, target: Target, cost: float) -> None:
        """Note what a run cost; `write_noted` writes it."""
        if target not in self._known and len(self._known) < MAX_NOTED_TARGETS:
            self._known.add(target)
            self._written_at = float("-inf")  # others wait to know it
        costs = self._noted.get(target)
        if costs is None:
            if len(self._noted) >= MAX_NOTED_TARGETS:
                return
            costs = self._noted[target] = deque(maxlen=MAX_COSTS)
        costs.append(cost)

    async def write_due(self, now: float) -> None:
        """Write what was noted, at most every `WRITE_INTERVAL_S`."""
        if not 0 <= now - self._written_at < WRITE_INTERVAL_S:
            self._written_at = now
            await self.write_noted()

    async def write_noted(self) -> None:
        """Write what was noted; what fails is written with the next call."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            recent = await self._add(noted)
            pairs = [part for pair in recent.items() for part in pair]
            if pairs:
                await self._client.call("HSET", self._keys.costs, *pairs)
        except BaseException:
            for target, costs in self._noted.items():
                noted.setdefault(target, deque(maxlen=MAX_COSTS)).extend(costs)
            self._noted = noted
            raise

    async def _add(self, noted: dict[Target, deque[float]]) -> dict[Target, float]:
        """Add costs to their lists; returns what runs of each target cost lately."""
        commands: list[Command] = []
        for target, costs in noted.items():
            key = self._keys.costs_of(target)
            commands += [
                ("LPUSH", key, *costs),
                ("LTRIM", key, 0, MAX_COSTS - 1),
                ("EXPIRE", key, RETENTION_S),
                ("LRANGE", key, 0, -1),
            ]
        lists = (await self._client.many(commands))[3::4]
        found = {
            target: recent_cost([float(cost) for cost in costs])
            for target, costs in zip(noted, lists, strict=True)
        }
        return {target: cost for target, cost in found.items() if cost is not None}

    def read_command(self, targets: Sequence[Target]) -> Command:
        """What reads what runs of some targets cost lately; `recent_of` reads the reply."""
        return ("HMGET", self._keys.costs, *targets)

    def recent_of(self, targets: Sequence[Target], reply: Sequence[bytes]) -> dict[Target, float]:
        """What runs of these targets cost lately, where that is known: `estimates.recent_cost`."""
        found = zip(targets, reply, strict=True)
        return numbers({name.encode(): cost for name, cost in found if cost})
