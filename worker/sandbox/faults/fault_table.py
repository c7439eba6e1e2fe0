"""Every fault of the sandbox as one table: its name, its response, and the routes it applies to.

A provider's error is named by its code, exactly. `HTTP_<status>` is a JSON error
without a code, `html_<status>` the page of a proxy. A name that is not in the table is an unknown
code, sent with the `status` given beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.sandbox.faults.options import FaultSpec, Route
from worker.sandbox.provider.replies import SandboxReply, encode, error_reply, proxy_page


class FaultBehaviour(StrEnum):
    """What a fault does."""

    ANSWER = "answer"
    """Send another response than the true one: an error, a page."""
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    HANG_BEFORE = "hang_before"
    HANG = "hang"
    SLOW = "slow"
    TRUNCATED_JSON = "truncated_json"
    HTML_200 = "html_200"
    EMPTY_BODY = "empty_body"
    ACCEPTED_202 = "accepted_202"
    SYNC_ANSWER = "sync_answer"
    ID_MISSING = "id_missing"
    STUCK = "stuck"
    FAILS = "fails"
    NO_RESULT = "no_result"
    STATUS_UNKNOWN = "status_unknown"
    CANCEL_FINISHED = "cancel_finished"
    CANCEL_COMPLETED = "cancel_completed"
    PAGES_MOVE = "pages_move"


class FaultError(ValueError):
    """A fault that cannot be applied; the text says why."""


ALL_ROUTES = frozenset(Route)
_SUBMIT = frozenset({Route.SUBMIT})
_RUN_ROUTES = frozenset({Route.SUBMIT, Route.POLL, Route.CANCEL})
_EXECUTION_ROUTES = frozenset({Route.POLL, Route.CANCEL})
_POLL = frozenset({Route.POLL})
_CANCEL = frozenset({Route.CANCEL})

ALLOWED_ROUTES: dict[FaultBehaviour, frozenset[Route]] = {
    FaultBehaviour.ACCEPTED_202: _RUN_ROUTES,
    FaultBehaviour.SYNC_ANSWER: _SUBMIT,
    FaultBehaviour.ID_MISSING: _SUBMIT,
    FaultBehaviour.STUCK: _SUBMIT,
    FaultBehaviour.FAILS: _SUBMIT,
    FaultBehaviour.NO_RESULT: frozenset({Route.SUBMIT, Route.POLL}),
    FaultBehaviour.STATUS_UNKNOWN: _POLL,
    FaultBehaviour.CANCEL_FINISHED: _CANCEL,
    FaultBehaviour.CANCEL_COMPLETED: _CANCEL,
    FaultBehaviour.PAGES_MOVE: frozenset({Route.USAGE}),
}
"""Behaviours that apply to some routes only."""

_DEFAULT_ROUTES = ALLOWED_ROUTES | {
    FaultBehaviour.DROP_AFTER: _SUBMIT,
    FaultBehaviour.HANG: _SUBMIT,
    FaultBehaviour.NO_RESULT: _SUBMIT,
    FaultBehaviour.ACCEPTED_202: _SUBMIT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One named fault. `default_routes`: where it applies when no route is given."""

    behaviour: FaultBehaviour = FaultBehaviour.ANSWER
    default_routes: frozenset[Route] = ALL_ROUTES
    status: int = 0
    code: str | None = None
    message: str = ""
    fields: Mapping[str, object] = field(default_factory=dict[str, object])


def _error_row(
    status: int, code: str, message: str, default_routes: frozenset[Route], **fields: object
) -> FaultRow:
    return FaultRow(
        default_routes=default_routes, status=status, code=code, message=message, fields=fields
    )


_ERROR_ROWS = (
    _error_row(400, "INVALID_INPUTS", "inputs must be a JSON object with all fields", _SUBMIT),
    _error_row(400, "INVALID_SLUG", "Only lowercase letters, digits and hyphens", _SUBMIT),
    _error_row(400, "INVALID_BODY", "Body must be JSON with inputs", _SUBMIT),
    _error_row(400, "INVALID_CAPABILITY", "Malformed capability", _SUBMIT),
    _error_row(400, "INVALID_SCOPE", "Scope not recognised", _SUBMIT),
    _error_row(400, "ASYNC_NOT_SUPPORTED", "This target has no async mode", _SUBMIT),
    _error_row(401, "LEGACY_KEY_RETIRED", "Regenerate this key in the dashboard", ALL_ROUTES),
    _error_row(402, "INSUFFICIENT_CREDITS", "Not enough credits", _SUBMIT),
    _error_row(402, "grant_exhausted", "The trial grant for this model is used up", _SUBMIT),
    _error_row(403, "CAPABILITY_DENIED", "The key lacks a capability", _SUBMIT, required="{route}"),
    _error_row(
        403,
        "SCOPE_DENIED",
        "The key lacks a scope",
        _SUBMIT,
        required="{route}",
        actual=["execution:read"],
    ),
    _error_row(
        403, "CAPABILITY_ABOVE_CEILING", "Above the tier's ceiling", _SUBMIT, attempted="{route}"
    ),
    _error_row(403, "API_KEY_ACCESS_DENIED", "The Free tier has no API keys", ALL_ROUTES),
    _error_row(403, "MODEL_TIER_REQUIRED", "This model needs a higher tier", _SUBMIT),
    _error_row(403, "WORKFLOW_CAP_REACHED", "Workflow cap of the Free tier reached", _SUBMIT),
    _error_row(404, "MODEL_NOT_FOUND", "No enabled model of that name", _SUBMIT),
    _error_row(404, "EXECUTION_NOT_FOUND", "Execution not found", _EXECUTION_ROUTES),
    _error_row(429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded", _SUBMIT),
    _error_row(500, "EXECUTION_FAILED", "A provider call failed", _SUBMIT),
    _error_row(
        500,
        "PROVIDER_SUBMIT_FAILED",
        "The provider refused the submit",
        _SUBMIT,
        providerStatus=503,
        providerBody="upstream unavailable",
    ),
    _error_row(500, "PROVIDER_RESPONSE_INCOMPLETE", "Ended without the expected output", _SUBMIT),
)

ROWS: dict[str, FaultRow] = {
    **{row.code: row for row in _ERROR_ROWS if row.code is not None},
    "HTTP_401": FaultRow(status=401, message="Invalid API key"),
    "HTTP_404": FaultRow(status=404, message="Workflow not found", default_routes=_SUBMIT),
    "cancel_refused": FaultRow(
        status=409,
        code="EXECUTION_NOT_CANCELLABLE",
        message="This execution can no longer be cancelled",
        default_routes=_CANCEL,
    ),
    **{
        str(act): FaultRow(behaviour=act, default_routes=_DEFAULT_ROUTES.get(act, ALL_ROUTES))
        for act in FaultBehaviour
        if act != FaultBehaviour.ANSWER
    },
}

_PATTERN = re.compile(r"(HTTP|html)_([3-5]\d\d)")
_PHRASES = {500: "Internal error", 502: "Bad gateway", 503: "Unavailable", 504: "Gateway timeout"}


@dataclass(frozen=True, slots=True)
class SandboxFault:
    """A fault to apply. `reply` is set exactly when `behaviour` is ANSWER."""

    behaviour: FaultBehaviour
    spec: FaultSpec
    default_routes: frozenset[Route]
    reply: SandboxReply | None = None


def resolve_fault(spec: FaultSpec, kind: str, target: str) -> SandboxFault:
    """Return the fault that `spec` asks for, for a run of `target`.

    Raises:
        FaultError: the name is unknown and no status is given.
    """
    found = _PATTERN.fullmatch(spec.fault)
    if spec.fault in ROWS:
        row = ROWS[spec.fault]
    elif found is None:
        row = _undocumented_row(spec)
    elif found[1] == "html":
        page = proxy_page(int(found[2])).with_headers(_headers(spec, None))
        return SandboxFault(FaultBehaviour.ANSWER, spec, ALL_ROUTES, page)
    else:
        status = int(found[2])
        row = FaultRow(status=status, message=_PHRASES.get(status, f"HTTP {status}"))
    is_answer = row.behaviour is FaultBehaviour.ANSWER
    reply = _build_reply(row, spec, kind, target) if is_answer else None
    return SandboxFault(row.behaviour, spec, row.default_routes, reply)


def check_fault(spec: FaultSpec, route: Route | None) -> None:
    """Check that a fault can be applied, and on `route` where one is given.

    Raises:
        FaultError: says which fault cannot be applied, and why.
    """
    fault = resolve_fault(spec, "model", "any")
    allowed = ALLOWED_ROUTES.get(fault.behaviour, ALL_ROUTES)
    if route is not None and route not in allowed:
        routes = ", ".join(sorted(allowed))
        raise FaultError(f"{spec.fault} acts on {routes}, not on {route}")


def documented_reply(code: str, **fields: object) -> SandboxReply:
    """Return the documented response of a code, with its context fields."""
    row = ROWS[code]
    return error_reply(row.status, row.message, row.code, fields)


def _build_reply(row: FaultRow, spec: FaultSpec, kind: str, target: str) -> SandboxReply:
    fields = {
        name: value.format(route=f"{kind}:run", target=target) if isinstance(value, str) else value
        for name, value in row.fields.items()
    }
    wait: int | float | None = None
    if row.code == "RATE_LIMIT_EXCEEDED":
        wait = 1 if spec.retry_after is None else spec.retry_after
        fields |= {"tier": "business", "limit": 1000, "retryAfter": wait}
    status = spec.status or row.status
    if isinstance(spec.body, str):
        return SandboxReply(status, spec.body.encode(), _headers(spec, wait), "text/plain")
    if spec.body is not None:
        return SandboxReply(status, encode(_body_with_code(spec)), _headers(spec, wait))
    return error_reply(
        status,
        spec.message or row.message,
        row.code if spec.code is None else spec.code,
        {**fields, **spec.fields},
        _headers(spec, wait),
    )


def _body_with_code(spec: FaultSpec) -> object:
    """Return the body of `spec`, with its code added where the body has none."""
    if spec.code is None or not isinstance(spec.body, dict):
        return spec.body
    return {"code": spec.code, **spec.body}


def _undocumented_row(spec: FaultSpec) -> FaultRow:
    """Return a row outside the documentation: any status, any code, any body."""
    if spec.status is None:
        names = ", ".join(sorted(ROWS))
        raise FaultError(f"{spec.fault or 'a fault without a name'} needs a status; known: {names}")
    return FaultRow(status=spec.status, code=spec.fault or None, message="Something new")


def _headers(spec: FaultSpec, retry_after_s: float | None) -> dict[str, str]:
    seconds = spec.retry_after if retry_after_s is None else retry_after_s
    headers = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
    return headers | spec.headers
