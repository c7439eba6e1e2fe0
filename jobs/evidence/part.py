"""Rows and claimants that are connected by possible matches."""

from collections import defaultdict
from collections.abc import Sequence

from jobs.evidence.matching import MAX_EDGES, maximum_matching
from jobs.evidence.runs import RunCertainty, RunOnRecord


class Part:
    """Rows and claimants that are connected by possible matches."""

    def __init__(
        self,
        edges: Sequence[Sequence[int]],
        claimants: Sequence[RunOnRecord],
        members: Sequence[int],
        rows: Sequence[int],
    ) -> None:
        self.edges = edges
        self.rows = rows
        self.members = members
        self.size = sum(len(edges[number]) for number in members)
        self._members: defaultdict[RunCertainty, list[int]] = defaultdict(list)
        for number in members:
            self._members[claimants[number].certainty].append(number)
        certain = self._members[RunCertainty.CERTAIN]
        self.is_explained = (
            0 < len(rows) == len(certain)
            and self.size <= MAX_EDGES
            and len(maximum_matching(edges, certain)) == len(rows)
        )
        """Whether each of its rows has one run that surely has one, and the other way round."""

    def of(self, *certainties: RunCertainty) -> list[int]:
        """The numbers of its claimants of these certainties."""
        return [number for one in certainties for number in self._members.get(one, ())]
