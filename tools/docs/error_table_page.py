"""The verdict table as a page for people: `docs/error-table.md` is what `render()` returns.

Rows of errors come from `verdicts.TABLE` itself. Rows of what is no error are written down here,
one for each kind of answer; a test holds them against the unions in `answers`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from jobs.decide import RATE_LIMITED_S, UNREACHABLE_S
from jobs.effects import Rules
from jobs.error_table import (
    ACTION_STUCK,
    ACTION_UNCERTAIN,
    ANYTHING_ELSE,
    IN_A_FAILED_RUN,
    OTHER_4XX,
    TABLE,
    Disposition,
    Reach,
    Verdict,
    Verdicts,
)
from jobs.outcomes import (
    Accepted,
    Fault,
    Finished,
    Lost,
    Missing,
    NoLook,
    NotSent,
    RunCancelled,
    RunFailed,
    StillRunning,
)
from jobs.polling.schedules import STUCK_EVERY_S

HEAD: Final = """\
<!-- Generated from tools/docs/error_table_page.py, do not edit: make docs -->

# What an answer means

One table decides what an error of the provider does to a job: `TABLE` in
[jobs/error_table.py](../jobs/error_table.py). This page is that table, with the answers that are no
errors beside it. Codes are the provider's own, letter for letter; a refusal without a code is
shown as `HTTP_<status>`. A row is looked up by status and code, then by the status alone.
"""

_CALL: Final = """\

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

_LOOK: Final = """\

## A look at a run that was accepted

The run is paid for. So trouble with a poll never fails the job, and it is looked at again.

| the poll | the job | attempt spent | what the person does |
|---|---|---|---|
"""

_FAILED: Final = """\

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

`KNOUDS_VERDICTS` replaces the fate of single codes by `dead`, `retry` or `park`, for submits and
for failed runs: `{"EXECUTION_FAILED": "park"}`. A refusal without a code goes by `HTTP_<status>`. A
code that parks only because of an override puts its hold on the target.
"""


@dataclass(frozen=True, slots=True)
class Plain:
    """A row for an answer that is no error with a code."""

    answer: str
    fate: str
    spent: str = "–"
    action: str = ""


_RULES: Final = Rules()
_RESOLVE: Final = "Resolve it, see below"

ON_SUBMIT: Final[Mapping[type, Plain]] = {
    Accepted: Plain("2xx with `_async: true` and an execution id", "`running`, polled"),
    Finished: Plain("2xx with a result, also to an async submit", "`succeeded`"),
    NotSent: Plain(
        "not connected at all: refused, DNS, TLS; or its mark could not be written",
        f"`queued` again; the account waits {UNREACHABLE_S:g} s",
        "no",
    ),
    Lost: Plain(
        "an unreadable 2xx; connection lost or timeout after the first byte",
        "`parked` as `uncertain`",
        "no",
        _RESOLVE,
    ),
}
"""What a submit can come back with beside a refusal."""

ON_LOOK: Final[Mapping[type, Plain]] = {
    Finished: Plain("`completed` with a usable result", "`succeeded`"),
    RunCancelled: Plain("`cancelled`", "`cancelled`; `succeeded` if it carries a result"),
    RunFailed: Plain("`failed`", "by the code of its error, see below", "by its row"),
    Lost: Plain("`completed` without a usable result", "`parked` as `uncertain`", "no", _RESOLVE),
    StillRunning: Plain(
        "`processing`, `cancel_requested`, or a status nobody knows",
        "stays as it is; past its deadline `parked` as `stuck`, and looked at every "
        f"{STUCK_EVERY_S:g} s",
        "no",
        f"Once it is stuck: {ACTION_STUCK[0].lower()}{ACTION_STUCK[1:]}",
    ),
    Missing: Plain(
        "404",
        f"looked at again with backoff; after {_RULES.missing_limit} in a row (a setting) `parked` "
        "as `uncertain`",
        "no",
        "Once it is uncertain: resolve it",
    ),
    NoLook: Plain(
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
            _CALL,
            *(_plain_call(row) for row in ON_SUBMIT.values()),
            *(_row(row, _answer(row)) for row in TABLE),
            _row(OTHER_4XX, "any other 4xx"),
            _row(ANYTHING_ELSE, "any other status, or a 500 that is not JSON"),
            _UNCERTAIN,
            _LOOK,
            *(
                _line(row.answer, row.fate, row.spent, row.action or "–")
                for row in ON_LOOK.values()
            ),
            _FAILED,
            *_failed_rows(),
            _TAIL,
        ]
    )


def _plain_call(row: Plain) -> str:
    return _line(row.answer, "–", row.fate, row.spent, "–", row.action or "–")


def _row(row: Verdict, answer: str) -> str:
    action = _RESOLVE if row.disposition is Disposition.UNCERTAIN else row.action
    blanks = {name: f"`{name}`" for name in ("required", "target", "account")}
    return _line(
        answer,
        row.meaning,
        fate(row.disposition),
        _spent(row.disposition),
        _reach(row),
        action.format(**blanks) or "nothing",
    )


def _answer(row: Verdict) -> str:
    known = any(other is not row and other.http_status == row.http_status for other in TABLE)
    if row.code is not None:
        return f"{row.http_status} `{row.code}`"
    return f"{row.http_status}, any other code or none" if known else f"{row.http_status}"


def fate(disposition: Disposition) -> str:
    """What becomes of the job, in words."""
    match disposition:
        case Disposition.SYNC:
            hours = _RULES.sync_memory_s / 3600
            return f"submitted again sync, at once; remembered for the target for {hours:g} h"
        case Disposition.DEAD:
            return "`dead`"
        case Disposition.PARK:
            return "`parked`; a hold keeps what comes behind it in line"
        case Disposition.WAIT:
            return (
                "`queued` again; account and route wait as `Retry-After` says "
                f"(else {RATE_LIMITED_S:g} s)"
            )
        case Disposition.RETRY:
            return "`retrying` with backoff; `dead` when attempts are spent"
        case Disposition.COOL:
            return (
                "`retrying` with backoff, and its lane waits at least "
                f"{UNREACHABLE_S:g} s; `dead` when attempts are spent"
            )
        case Disposition.UNCERTAIN:
            return "`parked` as `uncertain`"
        case _:
            assert_never(disposition)


def _spent(disposition: Disposition) -> str:
    spending = (Disposition.RETRY, Disposition.COOL, Disposition.DEAD)
    return "yes" if disposition in spending else "no"


def _reach(row: Verdict) -> str:
    match row.reach:
        case Reach.ROUTE:
            return "the route; the target where `required` names it"
        case Reach.ACCOUNT | Reach.TARGET:
            return f"the {row.reach.value}"
        case None:
            return "–"


def _failed_rows() -> Iterable[str]:
    verdicts = Verdicts(overrides={})
    for row in TABLE:
        if row.code is None:
            continue
        found = verdicts.on_failed_run(Fault(row.code)).disposition
        if found is not row.disposition:
            yield _line(f"`{row.code}`", fate(found), _spent(found))
    unknown = IN_A_FAILED_RUN.disposition
    yield _line("any other, or none", fate(unknown), _spent(unknown))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"
