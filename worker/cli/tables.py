"""Lists as tables: jobs, groups, holds, stats."""

import time
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table

from worker.cli.next_steps import group_command, hold_of, release_hold_command
from worker.cli.output import new_table, pluralize, state_text, text, widest
from worker.cli.text import format_age, format_duration, lane_of, parse_time, sanitize

Doc = dict[str, Any]

DEFAULT_ACCOUNT: Final = "default"


def job_list(doc: Doc) -> list[RenderableType]:
    """A page of jobs."""
    now = time.time()
    jobs: list[Doc] = doc["items"]
    ids, states = (widest(job[field] for job in jobs) for field in ("id", "state"))
    whole = {"JOB": ids, "STATE": states, "SINCE": len("SINCE")}
    table = new_table("JOB", "STATE", "RUNS", "CODE", "SINCE", min_widths=whole)
    for job in jobs:
        reason: Doc = job.get("reason") or {}
        changed = parse_time(job.get("updated_at"))
        table.add_row(
            text(job["id"]),
            state_text(job["state"]),
            text(lane_of(job).removeprefix(f"{DEFAULT_ACCOUNT}/")),
            text(reason.get("code")),
            text("" if changed is None else format_duration(now - changed)),
        )
    return _page(table, doc, "no jobs")


def audit_list(doc: Doc) -> list[RenderableType]:
    """A page of the acts of people."""
    now = time.time()
    table = new_table("WHEN", "BY", "ACT", "ON", "JOBS", "NOTE", right_aligned=("JOBS",))
    for line in doc["items"]:
        table.add_row(
            text(format_age(line.get("at"), now)),
            text(line.get("by")),
            text(line.get("act")),
            text(line.get("on")),
            text(line.get("jobs")),
            text(line.get("note")),
        )
    return _page(table, doc, "nothing on record")


def _page(table: Table, doc: Doc, empty_text: str) -> list[RenderableType]:
    cursor = doc.get("next_cursor")
    more: list[RenderableType] = [text(f"more: --cursor {cursor}", "dim")] if cursor else []
    if not doc["items"]:
        return more or [text(empty_text, "dim")]
    return [table, *more]


def group_list(doc: Doc, which: str, holds: list[Doc]) -> list[RenderableType]:
    """Groups of parked jobs or dead letters: how many, why, what to do, and the command."""
    if not doc["items"]:
        return [text(f"no {which} jobs", "dim")]
    now = time.time()
    lines: list[RenderableType] = []
    for group in doc["items"]:
        hold = hold_of(group, holds) if which == "parked" else None
        cost = group.get("est_cost")
        about = [
            pluralize(int(group["count"]), "job"),
            lane_of(group),
            f"oldest {format_age(group.get('oldest'), now)}",
            *([] if cost is None else [f"about {cost:g} credits"]),
        ]
        todo = group.get("action") or "Look at one of them, then decide"
        lines += _cause(group["code"], about, todo, group_command(group, which, hold))
    return lines[:-1]


def hold_list(doc: Doc) -> list[RenderableType]:
    """Closed and opening gates: what parked how many, what to do, and the command."""
    if not doc["items"]:
        return [text("no holds: every gate is open", "dim")]
    now = time.time()
    lines: list[RenderableType] = []
    for hold in doc["items"]:
        about = [
            str(hold["id"]),
            f"on {hold['scope']}",
            _gate(hold),
            f"{pluralize(int(hold['jobs']), 'job')} parked",
            f"since {format_age(hold.get('created_at'), now)}",
            *([f"“{hold['note']}”"] if hold.get("note") else []),
        ]
        opening = hold.get("phase") == "opening"
        lines += _cause(
            hold["code"], about, hold["action"], None if opening else release_hold_command(hold)
        )
    return lines[:-1]


def _cause(
    code: object, about: list[str], remedy: object, command: str | None
) -> list[RenderableType]:
    """A cause that a person can clear: one paragraph, its command on a line of its own."""
    lines: list[RenderableType] = [
        text(code, "bold yellow").append(
            sanitize(f"  {' · '.join(about)}"), style="default not bold"
        ),
        text(f"  {remedy}"),
    ]
    if command is not None:
        lines.append(text(f"  $ {command}", "bold"))
    return [*lines, text("")]


def _gate(hold: Doc) -> str:
    relapses = int(hold.get("relapses") or 0)
    back = f", back {pluralize(relapses, 'time')}" if relapses else ""
    return f"{hold.get('phase', 'closed')}{back}"


def stats_tables(doc: Doc) -> list[RenderableType]:
    """How everything stands."""
    states = new_table("STATE", "JOBS", "OLDEST", right_aligned=("JOBS",))
    oldest: Doc = doc.get("oldest") or {}
    for name, number in doc["states"].items():
        since = format_duration(float(oldest[name])) if number and name in oldest else ""
        states.add_row(state_text(name), text(number, "" if number else "dim"), text(since))
    parts: list[RenderableType] = [states]
    if doc.get("lanes"):
        parts += [text(""), _lanes(doc["lanes"])]
    if doc.get("quota"):
        parts += [text(""), _quota(doc["quota"])]
    return [*parts, text(""), text(_summary(doc))]


def _lanes(lanes: list[Doc]) -> Table:
    now = time.time()
    right = ("QUEUED", "ACTIVE", "CAP")
    table = new_table(
        "LANE", "QUEUED", "ACTIVE", "CAP", "FIRST", "LAST SENT IN", right_aligned=right
    )
    for lane in lanes:
        table.add_row(
            text(lane["lane"]),
            text(lane["queued"]),
            text(lane["active"]),
            text(lane.get("cap")),
            text(format_age(lane.get("head_since"), now)),
            text(format_duration(lane["drain_s"]) if lane.get("drain_s") else ""),
        )
    return table


def _quota(quota: list[Doc]) -> Table:
    now = time.time()
    table = new_table("ROUTE", "LEFT", "OF", "RESET", right_aligned=("LEFT", "OF"))
    for route in quota:
        table.add_row(
            text(route.get("route")),
            text(route.get("remaining")),
            text(route.get("limit")),
            text(format_age(route.get("reset_at"), now)),
        )
    return table


def _summary(doc: Doc) -> str:
    rates: Doc = doc.get("rates") or {}
    told = [
        pluralize(len(doc.get("workers") or []), "worker"),
        pluralize(int(doc.get("holds") or 0), "hold"),
    ]
    told += [f"{rate:g} {name.removesuffix('_per_min')}/min" for name, rate in rates.items()]
    return " · ".join(told)
