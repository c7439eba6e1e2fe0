"""The table of budgets, with what to do about those that admit nothing."""

import time
from typing import Final

from rich.console import RenderableType

from jobs.texts import pluralize
from worker.cli.output import Columns, doc_table, text
from worker.cli.text import Doc, command_line, format_age, sanitize

PER_PERIOD: Final = {"day": "a day", "month": "a month", "total": "in total"}


def budget_list(doc: Doc) -> list[RenderableType]:
    """Budgets: what is used of each; below them what to do about those that keep jobs waiting."""
    if not doc["items"]:
        return [text("no budgets: nothing limits what runs cost", "dim")]
    now = time.time()
    columns: Columns = {
        "BUDGET": lambda row: row["name"],
        "SCOPE": lambda row: row["scope"] or "every job",
        "LIMIT": lambda row: f"{row['limit']:,.10g}",
        "PER": lambda row: row["period"],
        "SPENT": lambda row: f"{row['spent']:,.10g}",
        "RESERVED": lambda row: f"{row['reserved']:,.10g}",
        "LEFT": lambda row: f"{row['left']:,.10g}",
        "RESETS": lambda row: format_age(row["resets_at"], now),
        "STATE": lambda row: row["state"],
        "WAITING": lambda row: f"{row['waiting']:,}" if row["waiting"] else "",
    }
    right_aligned = ("LIMIT", "SPENT", "RESERVED", "LEFT", "WAITING")
    parts: list[RenderableType] = [doc_table(doc["items"], columns, right_aligned=right_aligned)]
    for row in doc["items"]:
        if row["action"] or row["waiting"] or row["exceeded_by"]:
            parts += [text(""), *_paragraph(row, now)]
    return parts


def limit_text(budget: Doc) -> str:
    """The limit, as `100 credits a day (Europe/Berlin)`."""
    zone = "" if budget["period"] == "total" else f" ({budget['time_zone']})"
    return f"{budget['limit']:,.10g} credits {PER_PERIOD[budget['period']]}{zone}"


def _paragraph(row: Doc, now: float) -> list[RenderableType]:
    """A budget that keeps jobs waiting or is exceeded: the facts, what to do, and the command."""
    waiting = int(row["waiting"])
    facts = [
        *([f"{pluralize(waiting, 'job')} waiting"] if waiting else []),
        *([f"exceeded by {row['exceeded_by']:,.10g} credits"] if row["exceeded_by"] else []),
        *([f"set by {row['set_by']} {format_age(row['set_at'], now)}"] if row["set_at"] else []),
        *([f"“{row['note']}”"] if row["note"] else []),
        *([row["error"]] if row["error"] else []),
    ]
    head = text(f"{row['name']} {row['state']}", "bold yellow")
    lines: list[RenderableType] = [
        head.append(sanitize(f"  {' · '.join(facts)}"), style="default not bold")
    ]
    if row["action"]:
        lines.append(text(f"  {row['action']}"))
    if row["scope"] and row["state"] in ("open", "closed"):
        lines.append(text(f"  $ {_set_command(row)}", "bold"))
    return lines


def _set_command(row: Doc) -> str:
    """The command that sets it with another limit."""
    words = ["--scope", row["scope"], "--period", row["period"]]
    if row["time_zone"] != "UTC":
        words += ["--time-zone", row["time_zone"]]
    return sanitize(f"{command_line('budgets', 'set', row['name'], *words)} --limit CREDITS")
