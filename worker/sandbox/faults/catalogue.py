"""Every fault the sandbox can play, as one table: its name, its answer, where it belongs.

A provider's error is named by its code, letter for letter. `HTTP_<status>` is a JSON error
without a code, `html_<status>` the page of a proxy. A name that is not in the table is taken as
a code nobody knows yet, with the `status` given beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.sandbox.faults.options import FaultSpec, Route
from worker.sandbox.provider.replies import Reply, encode, error_reply, proxy_page


class Act(StrEnum):
    """What a fault does."""

    ANSWER = "answer"
    """Another answer than the true one: an error, a page."""
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


class FaultError(ValueError):
    """A fault that makes no sense; the text says why."""


ANYWHERE = frozenset(Route)
_SUBMIT = frozenset({Route.SUBMIT})
_RUNS = frozenset({Route.SUBMIT, Route.POLL, Route.CANCEL})
_READS = frozenset({Route.POLL, Route.CANCEL})
_POLL = frozenset({Route.POLL})
_CANCEL = frozenset({Route.CANCEL})

ONLY: dict[Act, frozenset[Route]] = {
    Act.ACCEPTED_202: _RUNS,
    Act.SYNC_ANSWER: _SUBMIT,
    Act.ID_MISSING: _SUBMIT,
    Act.STUCK: _SUBMIT,
    Act.FAILS: _SUBMIT,
    Act.NO_RESULT: _SUBMIT,
    Act.STATUS_UNKNOWN: _POLL,
    Act.CANCEL_FINISHED: _CANCEL,
    Act.CANCEL_COMPLETED: _CANCEL,
}
"""Acts that mean something on some routes only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One named fault. `home`: the routes it strikes when none is asked for."""

    act: Act = Act.ANSWER
    home: frozenset[Route] = ANYWHERE
    status: int = 0
    code: str | None = None
    message: str = ""
    fields: Mapping[str, object] = field(default_factory=dict[str, object])


def _coded(status: int, code: str, message: str, home: frozenset[Route], **fields: object) -> Row:
    return Row(home=home, status=status, code=code, message=message, fields=fields)


_CODED = (
    _coded(400, "INVALID_INPUTS", "inputs must be a JSON object with all fields", _SUBMIT),
    _coded(400, "INVALID_SLUG", "Only lowercase letters, digits and hyphens", _SUBMIT),
    _coded(400, "INVALID_BODY", "Body must be JSON with inputs", _SUBMIT),
    _coded(400, "INVALID_CAPABILITY", "Malformed capability", _SUBMIT),
    _coded(400, "INVALID_SCOPE", "Scope not recognised", _SUBMIT),
    _coded(400, "ASYNC_NOT_SUPPORTED", "This target has no async mode", _SUBMIT),
    _coded(401, "LEGACY_KEY_RETIRED", "Regenerate this key in the dashboard", ANYWHERE),
    _coded(402, "INSUFFICIENT_CREDITS", "Not enough credits", _SUBMIT),
    _coded(402, "grant_exhausted", "The trial grant for this model is used up", _SUBMIT),
    _coded(403, "CAPABILITY_DENIED", "The key lacks a capability", _SUBMIT, required="{route}"),
    _coded(
        403,
        "SCOPE_DENIED",
        "The key lacks a scope",
        _SUBMIT,
        required="{route}",
        actual=["execution:read"],
    ),
    _coded(
        403, "CAPABILITY_ABOVE_CEILING", "Above the tier's ceiling", _SUBMIT, attempted="{route}"
    ),
    _coded(403, "API_KEY_ACCESS_DENIED", "The Free tier has no API keys", ANYWHERE),
    _coded(403, "MODEL_TIER_REQUIRED", "This model needs a higher tier", _SUBMIT),
    _coded(403, "WORKFLOW_CAP_REACHED", "Workflow cap of the Free tier reached", _SUBMIT),
    _coded(404, "MODEL_NOT_FOUND", "No enabled model of that name", _SUBMIT),
    _coded(404, "EXECUTION_NOT_FOUND", "Execution not found", _READS),
    _coded(429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded", _SUBMIT),
    _coded(500, "EXECUTION_FAILED", "A provider call failed", _SUBMIT),
    _coded(
        500,
        "PROVIDER_SUBMIT_FAILED",
        "The provider refused the submit",
        _SUBMIT,
        providerStatus=503,
        providerBody="upstream unavailable",
    ),
    _coded(500, "PROVIDER_RESPONSE_INCOMPLETE", "Ended without the expected output", _SUBMIT),
)

ROWS: dict[str, Row] = {
    **{row.code: row for row in _CODED if row.code is not None},
    "HTTP_401": Row(status=401, message="Invalid API key"),
    "HTTP_404": Row(status=404, message="Workflow not found", home=_SUBMIT),
    "cancel_refused": Row(
        status=409,
        code="EXECUTION_NOT_CANCELLABLE",
        message="This execution can no longer be cancelled",
        home=_CANCEL,
    ),
    **{str(act): Row(act=act, home=ONLY.get(act, ANYWHERE)) for act in Act if act != Act.ANSWER},
    str(Act.DROP_AFTER): Row(act=Act.DROP_AFTER, home=_SUBMIT),
    str(Act.HANG): Row(act=Act.HANG, home=_SUBMIT),
    str(Act.ACCEPTED_202): Row(act=Act.ACCEPTED_202, home=_SUBMIT),
}

_PATTERN = re.compile(r"(HTTP|html)_([3-5]\d\d)")
_PHRASES = {500: "Internal error", 502: "Bad gateway", 503: "Unavailable", 504: "Gateway timeout"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault ready to be played. `reply` is set exactly when `act` is ANSWER."""

    act: Act
    spec: FaultSpec
    home: frozenset[Route]
    reply: Reply | None = None

    @property
    def started(self) -> bool:
        """Whether an ANSWER comes only after the call took effect."""
        return bool(self.spec.started)


def resolve(spec: FaultSpec, kind: str, target: str) -> Fault:
    """Turn what was asked for into a fault, for a run of `target`.

    Raises:
        FaultError: an unknown name without a status.
    """
    if not spec.fault or (spec.fault not in ROWS and not _PATTERN.fullmatch(spec.fault)):
        return Fault(Act.ANSWER, spec, ANYWHERE, _unheard_of(spec))
    found = _PATTERN.fullmatch(spec.fault) if spec.fault not in ROWS else None
    if found is not None:
        status = int(found[2])
        if found[1] == "html":
            page = proxy_page(status).with_headers(_headers(spec, None))
            return Fault(Act.ANSWER, spec, ANYWHERE, page)
        row = Row(status=status, message=_PHRASES.get(status, f"HTTP {status}"))
    else:
        row = ROWS[spec.fault]
    if row.act is not Act.ANSWER:
        return Fault(row.act, spec, row.home)
    return Fault(Act.ANSWER, spec, row.home, _answer(row, spec, kind, target))


def check(spec: FaultSpec, route: Route | None) -> None:
    """Refuse a fault that cannot be played, or not on `route`.

    Raises:
        FaultError: saying which and why.
    """
    fault = resolve(spec, "model", "any")
    allowed = ONLY.get(fault.act, ANYWHERE)
    if route is not None and route not in allowed:
        places = ", ".join(sorted(allowed))
        raise FaultError(f"{spec.fault} acts on {places}, not on {route}")


def refusal(code: str, **fields: object) -> Reply:
    """Return the true answer of a documented code, with its context fields."""
    row = ROWS[code]
    return error_reply(row.status, row.message, row.code, fields)


def _answer(row: Row, spec: FaultSpec, kind: str, target: str) -> Reply:
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
        return Reply(status, spec.body.encode(), _headers(spec, wait), "text/plain")
    if spec.body is not None:
        return Reply(status, encode(_coded_body(spec)), _headers(spec, wait))
    return error_reply(
        status,
        spec.message or row.message,
        row.code if spec.code is None else spec.code,
        {**fields, **spec.fields},
        _headers(spec, wait),
    )


def _coded_body(spec: FaultSpec) -> object:
    """Return a literal body, with the code that was asked for beside it if it has none."""
    if spec.code is None or not isinstance(spec.body, dict):
        return spec.body
    return {"code": spec.code, **spec.body}


def _unheard_of(spec: FaultSpec) -> Reply:
    """Return an answer nobody has documented: any status, any code, any body."""
    if spec.status is None:
        names = ", ".join(sorted(ROWS))
        raise FaultError(f"{spec.fault or 'a fault without a name'} needs a status; known: {names}")
    row = Row(status=spec.status, code=spec.fault or None, message="Something new")
    return _answer(row, spec, "model", "any")


def _headers(spec: FaultSpec, wait: float | None) -> dict[str, str]:
    seconds = spec.retry_after if wait is None else wait
    headers = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
    return headers | spec.headers
