"""What is known of lanes before a job runs: what runs cost, and of workflows what they take."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from jobs.lanes import Lane, target_name
from worker.store.client import Client
from worker.store.costs import CostStore
from worker.store.workflows import NO_FACTS, WorkflowFacts, WorkflowStore


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """What is known of one lane."""

    recent_cost: float | None = None
    """Credits, see `jobs.credits.estimates.recent_cost`."""
    workflow: WorkflowFacts = NO_FACTS
    """Of a model there is nothing: the provider lists none."""

    @property
    def price(self) -> float | None:
        """The provider's own estimate in credits; None where it gives none."""
        entry = self.workflow.workflow
        return None if entry is None else entry.price


NOTHING_KNOWN: Final = LaneFacts()


class LaneFactsStore:
    """The facts of one namespace, each read in one round trip."""

    def __init__(self, client: Client, costs: CostStore, workflows: WorkflowStore) -> None:
        self._client = client
        self._costs = costs
        self._workflows = workflows

    async def read(
        self, lanes: Collection[Lane], now: float, *, enqueuing: bool = False
    ) -> dict[Lane, LaneFacts]:
        """The facts of some lanes at `now`, Unix seconds.

        `enqueuing`: jobs of these lanes are enqueued, so that schemas of the workflows are read.
        """
        if not lanes:
            return {}
        targets = {lane: target_name(lane.kind, lane.target) for lane in lanes}
        names = list(dict.fromkeys(targets.values()))
        reads = self._workflows.read_commands(lanes)
        uses = self._workflows.use_commands(lanes, now) if enqueuing else []
        replies = await self._client.many([self._costs.read_command(names), *reads, *uses])
        costs = self._costs.recent_of(names, replies[0])
        workflows = self._workflows.facts(lanes, replies[1 : len(reads) + 1], now)
        return {
            lane: LaneFacts(costs.get(target), workflows.get(lane, NO_FACTS))
            for lane, target in targets.items()
        }
