"""What the opening of closed gates lets go: the jobs that are queued behind them.

A hold parks few jobs itself; most wait in the queue until its gate opens, and then go by
themselves. So a dry run that opens a gate counts both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from worker.cli.mcp.calls import ToolCall
from worker.cli.text import Doc

MAX_LANES_ESTIMATED: Final = 20
"""Lanes whose cost is asked for; of more of them, the cost is unknown."""


@dataclass(frozen=True, slots=True)
class OpenedGates:
    """The queued jobs that no other closed hold keeps."""

    queued_jobs: int
    est_cost: float | None
    """Credits; None where that is unknown of a lane."""
    is_complete: bool
    """Whether all lanes were seen; else there may be more jobs."""


def is_inside(lane_or_scope: str, scope: str) -> bool:
    """Whether a scope covers a lane, or another scope.

    >>> is_inside("default/model/suno", "default/model"), is_inside("default/model", "default/mod")
    (True, False)
    """
    return f"{lane_or_scope}/".startswith(f"{scope}/")


def scope_filter(scope: str) -> Doc:
    """The filter for jobs of a scope.

    >>> scope_filter("default/model/suno")
    {'account': 'default', 'kind': 'model', 'target': 'suno'}
    """
    account, _, rest = scope.partition("/")
    kind, _, target = rest.partition("/")
    where = {"account": account, "kind": kind, "target": target}
    return {name: value for name, value in where.items() if value}


def total_cost(costs: Sequence[float | None]) -> float | None:
    """The sum; None where one is unknown.

    >>> total_cost([1.0, 2.0]), total_cost([1.0, None])
    (3.0, None)
    """
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


async def opened_gates(call: ToolCall, opened: Sequence[Doc], holds: Sequence[Doc]) -> OpenedGates:
    """What waits in the queue behind the holds of `opened`, and behind no other one of `holds`."""
    ids = {hold["id"] for hold in opened}
    kept = [one["scope"] for one in holds if one["phase"] == "closed" and one["id"] not in ids]
    stats = (await call.api.get("stats")).doc
    lanes = [
        one
        for one in stats["lanes"]
        if one["queued"]
        and any(is_inside(one["lane"], hold["scope"]) for hold in opened)
        and not any(is_inside(one["lane"], scope) for scope in kept)
    ]
    is_complete = stats["lane_count"] == len(stats["lanes"])
    est_cost = None
    if is_complete and len(lanes) <= MAX_LANES_ESTIMATED:
        est_cost = total_cost([await _lane_cost(call, lane) for lane in lanes])
    return OpenedGates(sum(one["queued"] for one in lanes), est_cost, is_complete)


async def _lane_cost(call: ToolCall, lane: Doc) -> float | None:
    """The credits of the queued jobs of a lane, from the estimate for one of them."""
    wanted = {name: lane[name] for name in ("account", "kind", "target")}
    # No dry run is of queued jobs but that of a cancel; it says what a run of the job would cost.
    dry = {"filter": {**wanted, "state": "queued"}, "limit": 1, "dry_run": True}
    doc = (await call.api.post("bulk", "cancel", body=dry)).doc
    cost: float | None = doc["est_cost"]
    return None if cost is None or not doc["done"] else cost * int(lane["queued"])
