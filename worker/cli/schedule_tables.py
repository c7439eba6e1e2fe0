"""The table of schedules, and the page of one."""

import time
from contextlib import suppress
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from rich.console import RenderableType

from worker.cli.output import Columns, doc_table, key_value_table, state_text, text
from worker.cli.text import Doc, command_line, format_age, sanitize

_CAUSES: Final = {
    "overlap": "an earlier run was not finished",
    "missed": "no worker was there in time",
    "refused": "the job was refused",
    "id_taken": "a job with its id exists",
}


def schedule_list(doc: Doc) -> list[RenderableType]:
    """Schedules, by name."""
    if not doc["items"]:
        return [text("no schedules: nothing is enqueued by itself", "dim")]
    now = time.time()
    columns: Columns = {
        "SCHEDULE": lambda row: row["name"],
        "CRON": lambda row: row["cron"],
        "ZONE": lambda row: row["time_zone"],
        "JOB": _lane,
        "NEXT": lambda row: format_age(row["next_ticks"][0], now) if row["next_ticks"] else "",
        "LAST RUN": lambda row: format_age(_last_run(row, "created_at"), now),
        "STATE": lambda row: state_text(_last_run(row, "state")),
        "NOTE": _remark,
    }
    return [doc_table(doc["items"], columns)]


def schedule_page(doc: Doc) -> list[RenderableType]:
    """A schedule: what it does, when it ticks, what it did, and what keeps it from running."""
    now = time.time()
    zone = doc["time_zone"]
    rows: list[tuple[str, RenderableType]] = [
        ("schedule", text(doc["name"], "bold")),
        ("line", text(f"{doc['cron']} ({zone})")),
        ("job", text(_lane(doc))),
        ("request", text(msgspec.json.encode(doc["job"]).decode())),
        ("overlap", text(doc["overlap"])),
        ("catch up", text(doc["catch_up"])),
        ("set by", text(f"{doc['set_by']} {format_age(doc['set_at'], now)}".strip())),
        ("note", text(doc["note"])),
        ("error", text(doc["error"], "bold red")),
        ("next ticks", text("\n".join(local_time(one, zone) for one in doc["next_ticks"]))),
        ("left out", text(_skipped(doc, now), "yellow")),
    ]
    parts: list[RenderableType] = [key_value_table(rows)]
    blockers: list[Doc] = doc["why"] or []
    for blocker in blockers:
        parts += [text(""), text(f"{blocker['kind']}: {blocker['text']}", "yellow")]
        if blocker["action"]:
            parts.append(text(f"  {blocker['action']}"))
    columns: Columns = {
        "RUN": lambda row: row["id"],
        "TICK": lambda row: local_time(row["tick"], zone) if row["tick"] else "by hand",
        "STATE": lambda row: state_text(row["state"]),
        "CODE": lambda row: row["code"],
        "CREDITS": lambda row: "" if row["cost"] is None else f"{row['cost']:,.10g}",
        "ENQUEUED": lambda row: format_age(row["created_at"], now),
    }
    if doc["runs"]:
        parts += [text(""), doc_table(doc["runs"], columns, right_aligned=("CREDITS",))]
        parts += [text(""), text(f"$ {command_line('jobs', 'get', doc['runs'][0]['id'])}", "bold")]
    else:
        parts += [text(""), text("no runs on record", "dim")]
    return parts


def local_time(tick: str, time_zone: str) -> str:
    """A tick in the time zone of its schedule, as `Sun 2026-03-29 03:00 CEST`."""
    moment = datetime.fromisoformat(tick)
    with suppress(ZoneInfoNotFoundError, ValueError):  # unknown here: the time stays UTC
        moment = moment.astimezone(ZoneInfo(time_zone))
    return moment.strftime("%a %Y-%m-%d %H:%M %Z")


def _last_run(row: Doc, field: str) -> object:
    """What is known of its last run; empty where there is none."""
    found: Doc = row["last_run"] or {}
    return found.get(field, "")


def _lane(row: Doc) -> str:
    job = row["job"]
    parts = [job.get("account", "default"), job.get("kind"), job.get("target")]
    return sanitize("/".join(map(str, parts))) if job.get("kind") else ""


def _remark(row: Doc) -> str:
    if row["error"]:
        return str(row["error"])
    return "" if row["enabled"] else "disabled"


def _skipped(doc: Doc, now: float) -> str:
    found = doc["last_skip"]
    if not found:
        return ""
    count = f"{found['count']} ticks up to " if found["count"] > 1 else ""
    when = local_time(found["tick"], doc["time_zone"])
    message = f" ({found['message']})" if found["message"] else ""
    cause = _CAUSES.get(found["cause"], found["cause"])
    return f"{count}{when}: {cause}{message}, {format_age(found['at'], now)}"
