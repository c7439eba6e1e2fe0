"""The verdict table as a page for people: `docs/error-table.md` is what `render()` returns.

Rows of errors come from `verdicts.TABLE` itself. Rows of what is no error are written down here,
one for each kind of answer; a test holds them against the unions in `answers`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from jobs.decide import RATE_LIMITED_COOL_DOWN_S, UNREACHABLE_COOL_DOWN_S
from jobs.effects import DecisionRules
from jobs.error_table import (
    ACTION_STUCK,
    ACTION_UNCERTAIN,
    ERROR_RULES,
    OTHER_4XX,
    OUTSIDE_CONTRACT,
    UNKNOWN_IN_FAILED_RUN,
    Disposition,
    ErrorRule,
    ErrorTable,
    Reach,
)
from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    NotSent,
    PollFailed,
    ProviderError,
    RunCancelled,
    RunFailed,
    RunMissing,
    StillRunning,
)
from jobs.polling.schedules import STUCK_POLL_INTERVAL_S

HEAD: Final = """\
<!-- Generated from tools/docs/error_table_page.py, do not edit: make docs -->

# What an answer means

One table decides what an error of the provider does to a job: `TABLE` in
[jobs/error_table.py](../jobs/error_table.py). This page is that table, with the answers that are no
errors beside it. Codes are the provider's own, letter for letter; a refusal without a code is
shown as `HTTP_<status>`. A row is looked up by status and code, then by the status alone.
"""

_SUBMIT_HEAD: Final = """\

## The answer to a submit

| answer | means | the job | attempt spent | hold on | what the person does |
|---|---|---|---|---|---|
"""

_UNCERTAIN: Final = f"""\

**Uncertain** means that nobody knows whether the run started, and was charged.
{ACTION_UNCERTAIN}.
A job enqueued with `on_uncertain: "retry"` is retried instead where the answer to its submit was
lost; that spends the attempt, and may pay twice. It parks all the same where its worker was lost or
shut down meanwhile, or where a look at its run (below) is what made it uncertain.
"""

_POLL_HEAD: Final = """\

## A look at a run that was accepted

The run is paid for. So trouble with a poll never fails the job, and it is looked at again.

| the poll | the job | attempt spent | what the person does |
|---|---|---|---|
"""

_FAILED_RUN_HEAD: Final = """\

## The error of a run that failed

A failed run carries a code and no status of its own, so its row is found by the code alone, in the
first table. Because the run was taken and has ended, rows that would wait or go sync are retried
instead, and the attempt is spent. These differ from the first table:

| code | the job | attempt spent |
|---|---|---|
"""

_TAIL: Final = """\

A run that fails after it was parked as `stuck` stays parked, with the code it failed with. A run
that fails after its cancel was asked is `cancelled`.

## Overrides

`KNOUDS_ERROR_RULES` replaces the fate of single codes by `dead`, `retry` or `park`, for submits and
for failed runs: `{"EXECUTION_FAILED": "park"}`. A refusal without a code goes by `HTTP_<status>`. A
code that parks only because of an override puts its hold on the target.
"""


@dataclass(frozen=True, slots=True)
class PlainRow:
    """A row for an answer that is no error with a code."""

    outcome: str
    job_change: str
    spent: str = "–"
    action: str = ""


_RULES: Final = DecisionRules()
_RESOLVE: Final = "Resolve it, see below"

ON_SUBMIT: Final[Mapping[type, PlainRow]] = {
    Accepted: PlainRow("2xx with `_async: true` and an execution id", "`running`, polled"),
    Finished: PlainRow("2xx with a result, also to an async submit", "`succeeded`"),
    NotSent: PlainRow(
        "not connected at all: refused, DNS, TLS; or its mark could not be written",
        f"`queued` again; the account waits {UNREACHABLE_COOL_DOWN_S:g} s",
        "no",
    ),
    Lost: PlainRow(
        "an unreadable 2xx; connection lost or timeout after the first byte",
        "`parked` as `uncertain`",
        "no",
        _RESOLVE,
    ),
}
"""What a submit can come back with beside a refusal."""

ON_POLL: Final[Mapping[type, PlainRow]] = {
    Finished: PlainRow("`completed` with a usable result", "`succeeded`"),
    RunCancelled: PlainRow("`cancelled`", "`cancelled`; `succeeded` if it carries a result"),
    RunFailed: PlainRow("`failed`", "by the code of its error, see below", "by its row"),
    Lost: PlainRow(
        "`completed` without a usable result", "`parked` as `uncertain`", "no", _RESOLVE
    ),
    StillRunning: PlainRow(
        "`processing`, `cancel_requested`, or a status nobody knows",
        "stays as it is; past its deadline `parked` as `stuck`, and looked at every "
        f"{STUCK_POLL_INTERVAL_S:g} s",
        "no",
        f"Once it is stuck: {ACTION_STUCK[0].lower()}{ACTION_STUCK[1:]}",
    ),
    RunMissing: PlainRow(
        "404",
        f"looked at again with backoff; after {_RULES.max_missing_polls} in a row (a setting) "
        "`parked` "
        "as `uncertain`",
        "no",
        "Once it is uncertain: resolve it",
    ),
    PollFailed: PlainRow(
        "401, 403, 429, 5xx, network trouble, unreadable",
        "stays as it is, looked at again with backoff; past its deadline `parked` as `stuck`",
        "no",
    ),
}
"""What a look at a run can come back with."""


def render() -> str:
    """The page, as Markdown."""
    return "".join(
        [
            HEAD,
            _SUBMIT_HEAD,
            *(_plain_row(row) for row in ON_SUBMIT.values()),
            *(_row(row, _outcome(row)) for row in ERROR_RULES),
            _row(OTHER_4XX, "any other 4xx"),
            _row(OUTSIDE_CONTRACT, "any other status, or a 500 that is not JSON"),
            _UNCERTAIN,
            _POLL_HEAD,
            *(
                _line(row.outcome, row.job_change, row.spent, row.action or "–")
                for row in ON_POLL.values()
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
    blanks = {name: f"`{name}`" for name in ("required", "target", "account")}
    return _line(
        outcome,
        row.meaning,
        disposition_text(row.disposition),
        _spent(row.disposition),
        _reach(row),
        action.format(**blanks) or "nothing",
    )


def _outcome(row: ErrorRule) -> str:
    known = any(other is not row and other.http_status == row.http_status for other in ERROR_RULES)
    if row.code is not None:
        return f"{row.http_status} `{row.code}`"
    return f"{row.http_status}, any other code or none" if known else f"{row.http_status}"


def disposition_text(disposition: Disposition) -> str:
    """What becomes of the job, in words."""
    match disposition:
        case Disposition.SYNC:
            hours = _RULES.sync_only_memory_s / 3600
            return f"submitted again sync, at once; remembered for the target for {hours:g} h"
        case Disposition.DEAD:
            return "`dead`"
        case Disposition.PARK:
            return "`parked`; a hold keeps what comes behind it in line"
        case Disposition.WAIT:
            return (
                "`queued` again; account and route wait as `Retry-After` says "
                f"(else {RATE_LIMITED_COOL_DOWN_S:g} s)"
            )
        case Disposition.RETRY:
            return "`retrying` with backoff; `dead` when attempts are spent"
        case Disposition.COOL:
            return (
                "`retrying` with backoff, and its lane waits at least "
                f"{UNREACHABLE_COOL_DOWN_S:g} s; `dead` when attempts are spent"
            )
        case Disposition.UNCERTAIN:
            return "`parked` as `uncertain`"
        case _:
            assert_never(disposition)


def _spent(disposition: Disposition) -> str:
    spending = (Disposition.RETRY, Disposition.COOL, Disposition.DEAD)
    return "yes" if disposition in spending else "no"


def _reach(row: ErrorRule) -> str:
    match row.reach:
        case Reach.ROUTE:
            return "the route; the target where `required` names it"
        case Reach.ACCOUNT | Reach.TARGET:
            return f"the {row.reach.value}"
        case None:
            return "–"


def _failed_rows() -> Iterable[str]:
    verdicts = ErrorTable(overrides={})
    for row in ERROR_RULES:
        if row.code is None:
            continue
        found = verdicts.rule_for_failed_run(ProviderError(row.code)).disposition
        if found is not row.disposition:
            yield _line(f"`{row.code}`", disposition_text(found), _spent(found))
    unknown = UNKNOWN_IN_FAILED_RUN.disposition
    yield _line("any other, or none", disposition_text(unknown), _spent(unknown))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"
