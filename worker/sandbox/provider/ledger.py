"""Counts of requests by route and status, and of runs by label."""

from collections import Counter, defaultdict
from dataclasses import astuple, dataclass

from worker.sandbox.provider.replies import Credits


@dataclass(slots=True)
class LabelCounts:
    """The counts of one label.

    `posts`: submits that arrived, with any result. `started`: the runs they started. `charged`:
    the runs that took credits or a trial run; `refunded`: those that returned them. `credits`:
    what is spent in the end. `faulted`: the submits with a fault from `inputs.sandbox`.
    """

    posts: int = 0
    started: int = 0
    charged: int = 0
    refunded: int = 0
    polls: int = 0
    cancels: int = 0
    faulted: int = 0
    credits: Credits = 0


class Ledger:
    """Counts of everything but admin calls."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.labels: defaultdict[str, LabelCounts] = defaultdict(LabelCounts)

    def count(self, route: str, outcome: int | str) -> None:
        """Count one request by its route and its status, or `dropped`, `hung` or `left`."""
        self.requests[route, str(outcome)] += 1

    def routes(self) -> dict[str, dict[str, int]]:
        """Return the request counts as route → status → n."""
        table: dict[str, dict[str, int]] = {}
        for (route, outcome), n in sorted(self.requests.items()):
            table.setdefault(route, {})[outcome] = n
        return table

    def totals(self) -> LabelCounts:
        """Return the sums over all labels."""
        rows = (astuple(counts) for counts in self.labels.values())
        return LabelCounts(*map(sum, zip(*rows, strict=True)))
