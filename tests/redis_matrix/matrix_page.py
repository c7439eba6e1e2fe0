"""Renders what was found, as a page of the documentation and as one line for a terminal."""

import os
from collections.abc import Mapping, Sequence

from tests.redis_matrix.cell_findings import AIM_S, CellFindings

HEAD = """\
<!-- Written by a test run, do not edit: make redis-matrix ARGS="--write" -->

# Redis servers and their failures

What an app gets and what it pays while Redis fails over, refuses or forgets. Two workers and the
API run as processes over the real servers. A stand-in for the provider, which shares no code with
them, counts runs and their inputs. An app enqueues about 20 jobs a second over HTTP, each with an
id, and repeats a request until the answer is 200 or 202. A sixteenth of the jobs is refused once
and then retried, a ninth runs sync, a seventh runs for 4 s. At the end the app enqueues every
acknowledged job again, so that a run that was forgotten would be paid again. The servers sync their
append-only file with each write.

A job that no worker had sent yet is in Redis alone. With `FLUSHDB`, an older state or a failover to
a replica that lags it is gone, and counts as lost here, until the app enqueues it again. A `needs`
names the setting that prevents it: `WAIT` for 1 is `KNOUDS_REDIS_WAIT_REPLICAS=1`. With it nothing
is submitted while no replica confirms: "can serve" then means that the new primary has a replica.

| column | |
|---|---|
| needs | a setting without which a promise does not hold |
| lost | acknowledged jobs without a record at the end, before the app enqueues them again |
| paid twice | jobs with more than one run |
| other inputs | jobs with a run whose inputs were not the app's |
| answers | to `POST /v1/jobs`; `none` is a broken connection, or no answer within 10 s |
| goes on | from when the server can serve, until an enqueue is acknowledged and a run is started |
| all settled | from then, with 5 s of further load, until each job succeeded or is parked |
| parked | jobs that wait for an operator, by reason |
| commit | the version that was tried: later ones may do better |
"""

COLUMNS = (
    "event",
    "needs",
    "acknowledged",
    "lost",
    "paid twice",
    "other inputs",
    "answers",
    "goes on",
    "all settled",
    "parked",
    "notes",
    "commit",
)


def render_page(found: Sequence[CellFindings], skipped: Sequence[str]) -> str:
    """The page: a table for each server."""
    servers = list(dict.fromkeys(one.server for one in found))
    parts = [HEAD, _summary(found), ""]
    parts += [f"- Not tried: {line}." for line in skipped]
    for server in servers:
        parts += ["", f"## {server}", "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
        parts += [_line(_cells(one)) for one in found if one.server == server]
    return "\n".join(parts) + "\n"


def render_row(one: CellFindings) -> str:
    """A line for a terminal."""
    return " | ".join((one.server, *_cells(one)))


def _summary(found: Sequence[CellFindings]) -> str:
    good = sum(not one.missed for one in found)
    loads = [one.load for one in found if one.load] or [0.0]
    acknowledged = sum(one.acknowledged for one in found)
    return (
        f"Of {len(found)} cells {good} are as aimed: nothing lost, nothing paid twice or with other"
        f" inputs, no answer of 500, going on within {AIM_S:.0f} s. In all {acknowledged} jobs:"
        f" {sum(len(one.lost) for one in found)} lost,"
        f" {sum(len(one.paid_twice) for one in found)} paid twice,"
        f" {sum(len(one.other_inputs) for one in found)} with other inputs,"
        f" {sum(one.answers.get('500', 0) for one in found)} answers of 500."
        f" Run with {os.cpu_count()} cores, which other work shared: the load"
        f" average was {min(loads):.0f} to {max(loads):.0f}. Seconds are no better than that."
    )


def _cells(one: CellFindings) -> tuple[str, ...]:
    return (
        one.event,
        one.needs or "–",
        str(one.acknowledged),
        str(len(one.lost)),
        str(len(one.paid_twice)),
        str(len(one.other_inputs)),
        _counts(one.answers),
        _seconds(one.goes_on_s),
        _seconds(one.settled_s),
        _counts(one.parked),
        "; ".join(_notes(one)) or "–",
        f"`{one.commit}`",
    )


def _notes(one: CellFindings) -> list[str]:
    notes: list[str] = []
    if one.started_early is not None:
        notes.append(f"{one.started_early} scheduled jobs started early")
    if one.without_retry_after:
        notes.append(f"{one.without_retry_after} without `Retry-After`")
    if one.ready.keys() - {"200"}:
        notes.append("`/readyz` " + _counts(one.ready))
    if one.lost_unconfirmed:
        notes.append(f"{one.lost_unconfirmed} of the lost were `unconfirmed`")
    if one.unsettled:
        notes.append("not settled: " + _counts(one.unsettled))
    if one.ended:
        notes.append("ended by itself: " + ", ".join(one.ended))
    if one.trouble:
        notes.append(one.trouble)
    return notes


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key} × {count}" for key, count in sorted(counts.items())) or "–"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
