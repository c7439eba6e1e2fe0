"""The tables of jobs, audit entries, groups, holds and stats."""

import time
from collections.abc import Callable
from typing import Final

from rich.console import RenderableType
from rich.table import Table

from jobs.texts import pluralize
from worker.cli.next_steps import NEWER_SCHEMA, group_command, hold_of, release_hold_command
from worker.cli.output import Columns, doc_table, new_table, state_text, text, widest
from worker.cli.text import (
    Doc,
    command_line,
    credit_lines,
    format_age,
    format_duration,
    lane_of,
    parse_time,
    redis_lines,
    sanitize,
)

DEFAULT_ACCOUNT: Final = "default"


def job_list(doc: Doc) -> list[RenderableType]:
    """A page of jobs."""
    now = time.time()
    jobs: list[Doc] = doc["items"]
    ids, states = (widest(job[field] for job in jobs) for field in ("id", "state"))
    widths = {"JOB": ids, "STATE": states, "IN STATE": len("IN STATE")}
    table = new_table("JOB", "STATE", "TARGET", "CODE", "IN STATE", min_widths=widths)
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
    """A page of audit entries."""
    now = time.time()
    columns: Columns = {
        "WHEN": lambda entry: format_age(entry.get("at"), now),
        "BY": lambda entry: entry.get("by"),
        "ACTION": lambda entry: entry.get("act"),
        "ON": lambda entry: entry.get("on"),
        "JOBS": lambda entry: entry.get("jobs"),
        "NOTE": lambda entry: entry.get("note"),
    }
    return _page(doc_table(doc["items"], columns, right_aligned=("JOBS",)), doc, "no audit entries")


def credit_list(doc: Doc) -> list[RenderableType]:
    """What runs cost, with the total."""
    period = text(f"{doc['since']} to {doc['until']} (UTC)", "dim")
    if not doc["items"]:
        return [period, text("no charges", "dim")]
    columns: Columns = {
        doc["by"].upper(): lambda row: row.get("key"),
        "CREDITS": lambda row: f"{row['credits']:,.10g}",
        "CHARGES": lambda row: f"{row['charges']:,}",
        "ESTIMATED": _amount("estimated"),
        "RETRIES": _amount("retries"),
        "DEAD": _amount("dead"),
        "UNKNOWN": lambda row: row.get("unknown") or "",
    }
    table = doc_table([*doc["items"], doc["total"]], columns, right_aligned=tuple(columns)[1:])
    more = [text(f"and {doc['more']:,} more with fewer credits", "dim")] if doc["more"] else []
    return [period, table, *more]


def forecast_list(doc: Doc) -> list[RenderableType]:
    """What is ahead of each account, and of each budget."""
    now, budgets = time.time(), doc["budgets"]
    after: list[RenderableType] = []
    if budgets:
        after = [text(""), _budget_forecasts(budgets, now)]
    if not doc["items"]:
        return [text("nothing is queued, and no account has a balance", "dim"), *after]
    columns: Columns = {
        "ACCOUNT": lambda row: row.get("account"),
        "QUEUED": lambda row: f"{row['waiting_jobs']:,}",
        "WILL COST": lambda row: _known(row["waiting_cost"]),
        "PER HOUR": _amount("per_hour"),
        "LEFT": lambda row: "" if row["left"] is None else f"{row['left']:,.10g}",
        "EMPTY IN": lambda row: _until(row["dry_at"], now),
    }
    table = doc_table(doc["items"], columns, right_aligned=tuple(columns)[1:])
    short = [row["account"] for row in doc["items"] if row["covers_waiting"] is False]
    warning = f"not enough for what is queued: {', '.join(short)}"
    return [table, *([text(warning, "bold")] if short else []), *after]


def _budget_forecasts(budgets: list[Doc], now: float) -> Table:
    columns: Columns = {
        "BUDGET": lambda row: row.get("name"),
        "SCOPE": lambda row: row.get("scope"),
        "LIMIT": _amount("limit"),
        "USED": lambda row: f"{row['spent'] + row['reserved']:,.10g}",
        "PER HOUR": lambda row: "unknown" if row["per_hour"] is None else f"{row['per_hour']:,.6g}",
        "REACHED IN": lambda row: _until(row["reached_at"], now),
        "NEW PERIOD IN": lambda row: _until(row["resets_at"], now),
        "QUEUED": lambda row: f"{row['waiting_jobs']:,}",
        "WILL COST": lambda row: _known(row["waiting_cost"]),
    }
    return doc_table(budgets, columns, right_aligned=tuple(columns)[2:])


def _known(cost: float | None) -> str:
    return "unknown" if cost is None else f"about {cost:,.10g}"


def _until(at: object, now: float) -> str:
    """How long until a time; empty for none."""
    moment = parse_time(at)
    return "" if moment is None else format_duration(max(0.0, moment - now))


def _amount(name: str) -> Callable[[Doc], str]:
    """A cell with an amount of credits; empty for 0."""
    return lambda row: f"{row[name]:,.10g}" if row[name] else ""


def _page(table: Table, doc: Doc, empty_text: str) -> list[RenderableType]:
    cursor = doc.get("next_cursor")
    more: list[RenderableType] = [text(f"more: --cursor {cursor}", "dim")] if cursor else []
    if not doc["items"]:
        return more or [text(empty_text, "dim")]
    return [table, *more]


def group_list(doc: Doc, which: str, holds: list[Doc]) -> list[RenderableType]:
    """Groups of parked jobs or dead letters: how many, the cause, what to do, and the command."""
    if not doc["items"]:
        return [text(f"no {which} jobs", "dim")]
    now = time.time()
    lines: list[RenderableType] = []
    for group in doc["items"]:
        hold = hold_of(group, holds) if which == "parked" else None
        cost = group.get("est_cost")
        facts = [
            *([str(group["cause"]).replace("_", " ")] if group.get("cause") else []),
            pluralize(int(group["count"]), "job"),
            lane_of(group),
            f"oldest {format_age(group.get('oldest'), now)}",
            *([] if cost is None else [f"about {cost:g} credits"]),
            *(f"{n} {name.replace('_', ' ')}" for name, n in group.get("findings", {}).items()),
        ]
        remedy = group.get("action") or "Check one of them, then decide"
        lines += _cause(group["code"], facts, remedy, group_command(group, which, hold))
    return lines[:-1]


def cap_list(doc: Doc) -> list[RenderableType]:
    """Concurrency caps, and where each comes from."""
    if not doc["items"]:
        return [text("no caps: each lane has as many jobs at once as workers have slots", "dim")]
    now = time.time()
    columns: Columns = {
        "SCOPE": lambda row: row["scope"],
        "AT ONCE": lambda row: f"{row['cap']:,}",
        "FROM": lambda row: row["set_by"] if row["source"] == "operator" else "setting",
        "SET": lambda row: format_age(row["set_at"], now),
        "SETTING": lambda row: f"{row['default']:,}" if row["default"] else "",
        "NOTE": lambda row: row["note"],
    }
    return [doc_table(doc["items"], columns, right_aligned=("AT ONCE", "SETTING"))]


def hold_list(doc: Doc) -> list[RenderableType]:
    """Holds: the gates that are closed or opening, what to do, and the command."""
    if not doc["items"]:
        return [text("no holds: every gate is open", "dim")]
    now = time.time()
    lines: list[RenderableType] = []
    for hold in doc["items"]:
        relapses = int(hold.get("relapses") or 0)
        relapse = f", closed again ×{relapses}" if relapses else ""
        facts = [
            str(hold["id"]),
            f"on {hold['scope']}",
            f"{hold.get('phase', 'closed')}{relapse}",
            f"{pluralize(int(hold['jobs']), 'job')} parked",
            f"placed {format_age(hold.get('created_at'), now)}",
            *([f"“{hold['note']}”"] if hold.get("note") else []),
        ]
        is_fixed = hold.get("phase") == "opening" or hold.get("newer")
        command = None if is_fixed else release_hold_command(hold)
        lines += _cause(hold["code"], facts, hold["action"], command)
    return lines[:-1]


def session_list(doc: Doc) -> list[RenderableType]:
    """Sessions of browsers."""
    if not doc["items"]:
        return [text("nobody is logged in", "dim")]
    now = time.time()
    return [
        text(
            f"{one['id']}  {one['token']}  from {one['client'] or 'unknown'}"
            f"  since {format_age(one['opened_at'], now)}"
        )
        for one in doc["items"]
    ]


def breaker_list(doc: Doc) -> list[RenderableType]:
    """Breakers: what is stopped and why, since when, when it is probed, and the command."""
    if not doc["items"]:
        return [text("no breakers: the provider answers", "dim")]
    now = time.time()
    lines: list[RenderableType] = []
    for breaker in doc["items"]:
        error: Doc = breaker.get("last_error") or {}
        facts = [
            str(breaker["id"]),
            f"on {breaker['scope']}",
            str(breaker["cause"]).replace("_", " "),
            *([f"since {format_age(breaker['since'], now)}"] if breaker.get("since") else []),
            f"{pluralize(int(breaker['queued']), 'job')} queued",
            pluralize(int(breaker["failures"]), "failure"),
            *([f"last {format_age(error['at'], now)}"] if error.get("at") else []),
        ]
        may_probe = breaker["state"] == "open" and error.get("code") != NEWER_SCHEMA
        command = command_line("breakers", "probe", str(breaker["id"])) if may_probe else None
        remedy = breaker.get("action") or "Nothing: it stops no submit"
        lines += _cause(breaker["state"], facts, f"{breaker['text']}", None)[:-1]
        lines += _remedy(remedy, command)
    return lines[:-1]


def _remedy(remedy: str, command: str | None) -> list[RenderableType]:
    shown: list[RenderableType] = [text(f"  {remedy}")]
    return [*shown, *([text(f"  $ {command}", "bold")] if command else []), text("")]


def _cause(
    code: object, facts: list[str], remedy: object, command: str | None
) -> list[RenderableType]:
    """A cause that an operator can fix: a paragraph, with the command on a line of its own."""
    lines: list[RenderableType] = [
        text(code, "bold yellow").append(
            sanitize(f"  {' · '.join(facts)}"), style="default not bold"
        ),
        text(f"  {remedy}"),
    ]
    if command is not None:
        lines.append(text(f"  $ {command}", "bold"))
    return [*lines, text("")]


def stats_tables(doc: Doc) -> list[RenderableType]:
    """Jobs by state, then lanes, quota, workers, holds and rates."""
    states = new_table("STATE", "JOBS", "OLDEST", right_aligned=("JOBS",))
    oldest: Doc = doc.get("oldest") or {}
    for name, number in doc["states"].items():
        age = format_duration(float(oldest[name])) if number and name in oldest else ""
        states.add_row(state_text(name), text(number, "" if number else "dim"), text(age))
    parts: list[RenderableType] = [
        *(text(line, "red") for line in redis_lines(doc)),
        *(text(line, "yellow") for line in credit_lines(doc)),
        states,
    ]
    if doc.get("lanes"):
        parts += [text(""), _lanes(doc["lanes"])]
    if doc.get("quota"):
        parts += [text(""), _quota(doc["quota"])]
    if doc.get("workers"):
        parts += [text(""), _workers(doc), *_worker_problems(doc["workers"])]
    return [*parts, text(""), text(_summary(doc))]


def _lanes(lanes: list[Doc]) -> Table:
    now = time.time()
    columns: Columns = {
        "LANE": lambda lane: lane["lane"],
        "QUEUED": lambda lane: lane["queued"],
        "ACTIVE": lambda lane: lane["active"],
        "CAP": lambda lane: lane.get("cap"),
        "FAIR KEYS": lambda lane: _fair_keys(lane.get("fair_keys")),
        "OLDEST": lambda lane: format_age(lane.get("head_since"), now),
        "EST. DRAIN": lambda lane: format_duration(lane["drain_s"]) if lane.get("drain_s") else "",
    }
    return doc_table(lanes, columns, right_aligned=("QUEUED", "ACTIVE", "CAP"))


def _fair_keys(keys: Doc | None) -> str:
    """How many fair keys wait in a lane, and how many of them for the end of a run."""
    if keys is None:
        return ""
    return (
        f"{keys['waiting']}, {keys['at_cap']} at their cap"
        if keys["at_cap"]
        else str(keys["waiting"])
    )


def _quota(quota: list[Doc]) -> Table:
    now = time.time()
    columns: Columns = {
        "ROUTE": lambda route: route.get("route"),
        "REMAINING": lambda route: route.get("remaining"),
        "LIMIT": lambda route: route.get("limit"),
        "RESET": lambda route: format_age(route.get("reset_at"), now),
    }
    return doc_table(quota, columns, right_aligned=("REMAINING", "LIMIT"))


def _workers(doc: Doc) -> Table:
    now, refuses = time.time(), bool(doc.get("redis_refuses"))
    columns: Columns = {
        "WORKER": lambda worker: worker["id"],
        "SUBMITS": lambda worker: worker["submitting"],
        "SYNC RUNS": lambda worker: worker["sync_runs"],
        "POLLS": lambda worker: worker["polling"],
        "SINCE": lambda worker: format_age(worker.get("started_at"), now),
        "STATE": lambda worker: _worker_state(worker, redis_refuses=refuses),
    }
    return doc_table(doc["workers"], columns, right_aligned=("SUBMITS", "SYNC RUNS", "POLLS"))


def _worker_state(worker: Doc, *, redis_refuses: bool) -> str:
    if worker.get("stopping"):
        return "stopping"
    if worker.get("drained"):
        return "drained"
    return "has a problem" if redis_refuses or worker.get("failures") else "working"


def _worker_problems(workers: list[Doc]) -> list[RenderableType]:
    """A line for each problem of each worker."""
    lines: list[RenderableType] = []
    for worker in workers:
        problems: Doc = worker.get("failures") or {}
        lines += [text(f"{worker['id']}: {name}: {problems[name]}", "yellow") for name in problems]
    return lines


def _worker_count(doc: Doc) -> str:
    workers: list[Doc] = doc.get("workers") or []
    if doc.get("redis_refuses") and not workers:
        return "workers not known"
    return pluralize(len(workers), "worker")


def _summary(doc: Doc) -> str:
    rates: Doc = doc.get("rates") or {}
    stopping = int(doc.get("breakers") or 0)
    parts = [
        _worker_count(doc),
        pluralize(int(doc.get("holds") or 0), "hold"),
        *([f"{pluralize(stopping, 'breaker')}: `breakers ls`"] if stopping else []),
    ]
    parts += [f"{rate:g} {name.removesuffix('_per_min')}/min" for name, rate in rates.items()]
    return " · ".join(parts)
