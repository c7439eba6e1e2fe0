"""Renders the error table as `docs/error-table.md`.

Rows of errors come from the table itself. Rows of all other outcomes are written here, one for each
kind; a test compares them with the unions in `jobs.outcomes`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from jobs.effects import DecisionRules
from jobs.error_table import (
    ACTION_STUCK,
    ACTION_UNCERTAIN,
    NOT_THE_API_PAGE,
    OTHER_4XX,
    OUTSIDE_CONTRACT,
    REQUEST_CUT_SHORT,
    TLS_PORT,
    UNKNOWN_IN_FAILED_RUN,
    Disposition,
    ErrorRule,
    ErrorTable,
    Reach,
)
from jobs.inconclusive_polls import EMPTY_POLLS, EMPTY_S, RATE_LIMITED_COOL_DOWN_S
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    NotSent,
    ProviderError,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
)
from jobs.polling.schedules import STUCK_POLL_INTERVAL_S
from worker.provider.knouds.error_rows import ERROR_RULES

HEAD: Final = """\
<!-- Generated from tools/docs/error_table_page.py, do not edit: make docs -->

# What a response means

One table decides what an error of the provider does to a job. Its rows of codes are data in
[worker/provider/knouds/error_rows.py](../worker/provider/knouds/error_rows.py); the lookup and the
rows of unknown codes are in [jobs/error_table.py](../jobs/error_table.py). This page is that table,
with the outcomes that are no errors beside it. Codes are the provider's own, letter for letter; a
refusal without a code is shown as `HTTP_<status>`. A row is looked up by status and code, then by a
known code, then by status alone. So a refusal in a 2xx (`error` and `code`, no run and no result)
counts as the refusal that its code names. A known code does not change what 3xx, 408, 413, 414 and
431 mean; at 401, 402, 403 and 429 it counts only if it parks, at 502, 503 and 504 only if it does
not retry. Of a 4xx whose body is cut short, the status decides.
"""

_SUBMIT_HEAD: Final = """\

## The response to a submit

| response | means | the job | attempt spent | hold on | what the operator does |
|---|---|---|---|---|---|
"""

_UNCERTAIN: Final = f"""\

**Uncertain** means that it is unknown whether the run started and was charged.
{ACTION_UNCERTAIN}.
A job enqueued with `on_uncertain: "retry"` is retried instead if the response to its submit was
lost; that spends the attempt and may pay twice. It still parks if its worker was lost or shut down
meanwhile, or if a poll (below) made it uncertain.
"""

_POLL_HEAD: Final = """\

## A poll of an accepted run

The run is paid for. So a failed poll never fails the job; the run is polled again.

| the poll | the job | attempt spent | what the operator does |
|---|---|---|---|
"""

_FAILED_RUN_HEAD: Final = """\

## The error of a run that failed

A failed run has a code and no status of its own, so its row is found by the code alone, in the
first table. Because the run was accepted and has ended, rows that would wait or go sync are
retried instead, and the attempt is spent. These differ from the first table:

| code | the job | attempt spent |
|---|---|---|
"""

_TAIL: Final = """\

A run that fails after its job was parked as `stuck` leaves the job parked, with the code of the
failure. A run that fails after a cancel was requested is `cancelled`.

## Overrides

`KNOUDS_ERROR_RULES` replaces the disposition of single codes by `dead`, `retry` or `park`, for
submits and for failed runs: `{"EXECUTION_FAILED": "park"}`. A refusal without a code is named
`HTTP_<status>`. A code that parks only because of an override places its hold on the target.
"""


@dataclass(frozen=True, slots=True)
class PlainRow:
    """A row for an outcome that is not an error with a code."""

    outcome: str
    job_change: str
    spent: str = "–"
    action: str = ""


_RULES: Final = DecisionRules()
_TABLE: Final = ErrorTable(ERROR_RULES)
_PAGES: Final = (
    "any 4xx but 401, 402, 408, 413, 414, 429 and 431 that is not an error as JSON (HTML, a text, "
    "an empty body, JSON without `error` and `code`), 403 only as HTML; 511; 2xx as HTML that asks "
    "to log in or to solve a captcha"
)
_RESOLVE: Final = "Resolve it, see below"

ON_SUBMIT: Final[Mapping[type, PlainRow]] = {
    Accepted: PlainRow("2xx with `_async: true` and an execution id", "`running`, polled"),
    Finished: PlainRow("2xx with a result, also to an async submit", "`succeeded`"),
    NotSent: PlainRow(
        "no connection: refused, DNS, TLS; or the submit could not be recorded",
        "`queued` again; the breaker of the account counts it",
        "no",
    ),
    Lost: PlainRow(
        "an unreadable 2xx; connection lost or timeout after the first byte",
        "`parked` as `uncertain`",
        "no",
        _RESOLVE,
    ),
}
"""What a submit can come to beside a refusal."""

ON_POLL: Final[Mapping[type, PlainRow]] = {
    Finished: PlainRow("`completed` with a usable result", "`succeeded`"),
    RunCancelled: PlainRow("`cancelled`", "`cancelled`; `succeeded` if it carries a result"),
    RunFailed: PlainRow("`failed`", "by the code of its error, see below", "by its row"),
    Lost: PlainRow(
        "`completed` without a usable result",
        f"polled again with backoff; after {EMPTY_POLLS} in a row over at least {EMPTY_S:g} s "
        f"`parked` as `uncertain`, and polled every {STUCK_POLL_INTERVAL_S:g} s",
        "no",
        "Once it is uncertain: resolve it, unless a later poll or webhook brings the result",
    ),
    StillRunning: PlainRow(
        "`processing`, `cancel_requested`, or an unknown status, which is on record",
        "unchanged (an `uncertain` one is `running` again); past its deadline `parked` as "
        "`stuck`, and polled every "
        f"{STUCK_POLL_INTERVAL_S:g} s",
        "no",
        f"Once it is stuck: {ACTION_STUCK[0].lower()}{ACTION_STUCK[1:]}",
    ),
    RunMissing: PlainRow(
        "404 as JSON with `error` or `code`",
        f"polled again with backoff; after {_RULES.max_missing_polls} in a row (a setting) "
        f"`parked` as `uncertain`, and polled every {STUCK_POLL_INTERVAL_S:g} s",
        "no",
        "Once it is uncertain: resolve it, unless a later poll finds the run",
    ),
    CallFailure: PlainRow(
        "429, 5xx, a network error, unreadable, or about another run",
        "unchanged, polled again with backoff; past its deadline `parked` as `stuck`",
        "no",
    ),
}
"""What a poll can come to."""

_NO_ACCESS: Final = (
    PlainRow(
        "401 in any form, 403 but as HTML, or a 2xx with a code of these and no run",
        "unchanged, polled rarely, also past its deadline; a hold keeps all jobs of the account "
        "queued, unless the webhooks that runs announced arrive",
        "no",
        "Put in a key that may poll (`execution:read`), release the hold: a paid run is polled "
        "first, and if that is answered, the hold opens and every paid run is polled",
    ),
    PlainRow(
        "a redirect, or a page (any other 4xx that is not an error as JSON, a login or captcha "
        "page)",
        "unchanged, polled rarely, also past its deadline",
        "no",
        "Set KNOUDS_BASE_URL, or let the network pass",
    ),
)


def render() -> str:
    """The page, as Markdown."""
    return "".join(
        [
            HEAD,
            _SUBMIT_HEAD,
            *(_plain_row(row) for row in ON_SUBMIT.values()),
            *(_row(row, _outcome(row)) for row in _TABLE.rules),
            _row(NOT_THE_API_PAGE, _PAGES),
            _row(TLS_PORT, "such a page that says that plain HTTP came to a TLS port"),
            _row(REQUEST_CUT_SHORT, "408 before the request was fully written"),
            _row(OTHER_4XX, "any other 4xx as JSON"),
            _row(OUTSIDE_CONTRACT, "any other status, or a 500 that is not JSON"),
            _UNCERTAIN,
            _POLL_HEAD,
            *(
                _line(row.outcome, row.job_change, row.spent, row.action or "–")
                for row in (*ON_POLL.values(), *_NO_ACCESS)
            ),
            _FAILED_RUN_HEAD,
            *_failed_rows(),
            _TAIL,
        ]
    )


def _plain_row(row: PlainRow) -> str:
    return _line(row.outcome, "–", row.job_change, row.spent, "–", row.action or "–")


def _row(row: ErrorRule, outcome: str) -> str:
    action = _RESOLVE if row.disposition is Disposition.UNCERTAIN else row.action
    blanks = {name: f"`{name}`" for name in ("required", "target", "account", "location")}
    return _line(
        outcome,
        row.meaning,
        disposition_text(row.disposition),
        _spent(row.disposition),
        _reach(row),
        action.format(**blanks) or "nothing",
    )


def _outcome(row: ErrorRule) -> str:
    known = any(other is not row and other.http_status == row.http_status for other in _TABLE.rules)
    if row.code is not None:
        return f"{row.http_status} `{row.code}`"
    return f"{row.http_status}, any other code or none" if known else f"{row.http_status}"


def disposition_text(disposition: Disposition) -> str:
    """What happens to the job, in words."""
    match disposition:
        case Disposition.SYNC:
            hours = _RULES.sync_only_memory_s / 3600
            return f"submitted again sync, at once; remembered for the target for {hours:g} h"
        case Disposition.DEAD:
            return "`dead`"
        case Disposition.PARK:
            return "`parked`; a hold keeps the jobs behind it queued"
        case Disposition.WAIT:
            return (
                "`queued` again; account and route wait as `Retry-After` says "
                f"(else {RATE_LIMITED_COOL_DOWN_S:g} s)"
            )
        case Disposition.RETRY:
            return (
                "`retrying` with backoff; `dead` when attempts are spent; the breaker of the lane "
                "counts it"
            )
        case Disposition.COOL:
            return "`retrying` with backoff; the breaker of the lane counts it"
        case Disposition.HOLD:
            return "`queued` again; a hold keeps all jobs of its scope queued"
        case Disposition.NOT_SENT:
            return "as one that was not sent; `retrying` with backoff, no attempt is spent"
        case Disposition.UNCERTAIN:
            return "`parked` as `uncertain`"
        case _:
            assert_never(disposition)


def _spent(disposition: Disposition) -> str:
    spending = (Disposition.RETRY, Disposition.DEAD)
    return "yes" if disposition in spending else "no"


def _reach(row: ErrorRule) -> str:
    match row.reach:
        case Reach.ROUTE:
            return "the route; the target if `required` names it"
        case Reach.ACCOUNT | Reach.TARGET:
            return f"the {row.reach.value}"
        case Reach.KEYLESS:
            return "no lane; one hold for all accounts without a key"
        case None:
            return "–"
        case _:
            assert_never(row.reach)


def _failed_rows() -> Iterable[str]:
    for row in _TABLE.rules:
        if row.code is None:
            continue
        disposition = _TABLE.rule_for_failed_run(ProviderError(row.code)).disposition
        if disposition is not row.disposition:
            yield _line(f"`{row.code}`", disposition_text(disposition), _spent(disposition))
    unknown = UNKNOWN_IN_FAILED_RUN.disposition
    yield _line("any other, or none", disposition_text(unknown), _spent(unknown))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"
