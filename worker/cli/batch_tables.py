"""The table of batches, and one batch in full."""

import time
from typing import Final

from rich.console import RenderableType

from worker.cli.output import Columns, doc_table, text
from worker.cli.text import Doc, command_line, format_age, sanitize

SETTLED: Final = ("succeeded", "dead", "cancelled")
NEEDS_OPERATOR: Final = {"parked": "parked", "dead": "dead"}


def batch_list(doc: Doc) -> list[RenderableType]:
    """Batches, the most recently used first."""
    if not doc["items"]:
        return [text("no batches: give jobs a batch to see their progress here", "dim")]
    columns: Columns = {
        "BATCH": lambda row: row["name"],
        "STATE": _state,
        "JOBS": lambda row: f"{row['total']:,}",
        "SUCCEEDED": lambda row: _of(row, "succeeded"),
        "IN PROGRESS": _in_progress,
        "PARKED": lambda row: _of(row, "parked"),
        "DEAD": lambda row: _of(row, "dead"),
        "CANCELLED": lambda row: _of(row, "cancelled"),
        "CREDITS": lambda row: f"{row['cost']:,.10g}",
    }
    parts: list[RenderableType] = [
        doc_table(doc["items"], columns, right_aligned=tuple(list(columns)[2:]))
    ]
    if doc["next_cursor"]:
        more = command_line("batches", "ls", "--cursor", str(doc["next_cursor"]))
        parts.append(text(f"more: {more}", "dim"))
    return parts


def batch_details(doc: Doc) -> list[RenderableType]:
    """A batch: its counts, what it cost, why some failed, and what to do."""
    now = time.time()
    facts = [f"{count:,} {state}" for state, count in doc["states"].items() if count]
    facts += [f"{doc['cost']:,.10g} credits"]
    if doc["eta_s"]:
        facts.append(f"about {doc['eta_s']:,.0f} s left")
    parts: list[RenderableType] = [
        text(f"{doc['name']}: {_state(doc)}, {doc['total']:,} jobs", "bold"),
        text(f"  {' · '.join(facts)}"),
    ]
    if doc["created_at"]:
        by = f" by {doc['created_by']}" if doc["created_by"] else ""
        parts.append(text(sanitize(f"  created {format_age(doc['created_at'], now)}{by}"), "dim"))
    failures: list[Doc] = doc.get("failures") or []
    parts += [text(f"  {one['jobs']:>6,}  {one['code']}") for one in failures]
    for state, command in NEEDS_OPERATOR.items():
        if doc["states"].get(state):
            words = command_line(command, "ls", "--batch", doc["name"])
            parts.append(text(f"  $ {words}", "bold"))
    return parts


def _state(row: Doc) -> str:
    return f"{row['state']}, stalled" if row["stalled"] else str(row["state"])


def _of(row: Doc, state: str) -> str:
    return f"{row['states'].get(state, 0):,}"


def _in_progress(row: Doc) -> str:
    others = {*SETTLED, "parked"}
    return f"{sum(count for state, count in row['states'].items() if state not in others):,}"
