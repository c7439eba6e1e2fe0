"""`GET /api/usage`: the API runs of an account, newest first, in pages."""

from dataclasses import dataclass
from typing import Final

from worker.sandbox.faults.fault_table import FaultBehaviour, SandboxFault
from worker.sandbox.faults.options import Route
from worker.sandbox.faults.queue import SandboxCall
from worker.sandbox.provider import responses
from worker.sandbox.provider.limits import SandboxBucket
from worker.sandbox.provider.replies import JsonObject, error_reply, json_reply
from worker.sandbox.provider.state import SandboxState

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """The query of a read, as text; an empty one counts as absent."""

    status: str = ""
    model_id: str = ""
    workflow_slug: str = ""
    limit: str = ""
    offset: str = ""

    def matches(self, row: JsonObject) -> bool:
        """Return whether a row passes every filter that is given."""
        nodes = row["modelIds"]
        return (
            self.status in ("", row["status"])
            and self.workflow_slug in ("", row["workflowSlug"])
            and (not self.model_id or (isinstance(nodes, list) and self.model_id in nodes))
        )


def usage(
    state: SandboxState, query: UsageQuery, key: str | None, now: float
) -> responses.SandboxResponse:
    """Return the response to a read of the caller's usage; raises `SandboxRefusal`."""
    caller = state.admit(key, SandboxBucket.USAGE, now)
    fault = state.faults.take(SandboxCall(Route.USAGE, key or ""))
    responses.apply_before(fault)
    limit, offset = _read_number(query.limit, DEFAULT_LIMIT), _read_number(query.offset, 0)
    if limit is None or offset is None or limit < 1:
        bad = error_reply(400, "limit must be 1 to 500, and offset 0 or more", "INVALID_QUERY")
        raise responses.SandboxRefusal(responses.SendReply(bad))
    limit = min(limit, MAX_LIMIT)
    for run in list(state.usage.unwritten):
        state.settle(run, now)
    state.usage.write_due(now)
    own = [row.view(now) for row in reversed(state.usage.rows) if row.user is caller.key.user]
    found = [row for row in own if query.matches(row)]
    first = _moved(offset, fault)
    body: JsonObject = {
        "rows": found[first : first + limit],
        "page": offset // limit,
        "pageSize": limit,
        "total": len(found),
    }
    return responses.apply_after(
        fault, responses.SendReply(json_reply(body, headers=caller.headers))
    )


def _moved(offset: int, fault: SandboxFault | None) -> int:
    """Return where a page starts, moved where rows came or went since the first page."""
    if fault is None or fault.behaviour is not FaultBehaviour.PAGES_MOVE or offset == 0:
        return offset
    return max(0, offset - fault.spec.shift)


def _read_number(text: str, default: int) -> int | None:
    """Return the number of a query; None where it is no number, 0 or more."""
    if not text:
        return default
    return int(text) if text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004
