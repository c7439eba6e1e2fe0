"""The tables of callbacks, with what to do about those that fail."""

import time
from typing import Final

from rich.console import RenderableType

from jobs.texts import pluralize
from worker.cli.output import Columns, doc_table, text
from worker.cli.text import Doc, command_line, format_age, sanitize

_STYLES: Final = {"failed": "bold red", "pending": "yellow", "delivered": "green"}


def callback_list(doc: Doc) -> list[RenderableType]:
    """A page of callbacks; below it hosts that are down, and the command for failed ones."""
    now = time.time()
    parts: list[RenderableType] = []
    if doc["items"]:
        columns: Columns = {
            "CALLBACK": lambda row: row["id"],
            "JOB OR BATCH": lambda row: row["job"] or row["batch"],
            "EVENT": lambda row: row["type"],
            "STATE": lambda row: row["state"],
            "HAPPENED": lambda row: format_age(row["created_at"], now),
            "TRIES": lambda row: row["tries"],
            "NEXT": lambda row: format_age(row["next_try_at"], now),
            "LAST ERROR": lambda row: row["error"],
        }
        parts.append(doc_table(doc["items"], columns, right_aligned=("TRIES",)))
    else:
        parts.append(text("no callbacks", "dim"))
    for host in doc["hosts_down"]:
        tries = pluralize(int(host["failures"]), "try", "tries")
        probe = format_age(host["next_probe_at"], now)
        head = text(f"\n{host['host']} is down", "bold yellow")
        line = f"  {tries} in a row: {host['error']}; probed next {probe}"
        parts.append(head.append(sanitize(line), style="default not bold"))
    failed = next((row for row in doc["items"] if row["state"] == "failed"), None)
    if failed is not None:
        parts.append(text(f"\nsend one again: {command_line('callbacks', 'resend', failed['id'])}"))
    if doc.get("next_cursor"):
        parts.append(text(f"next page: --cursor {doc['next_cursor']}", "dim"))
    return parts


def _subject(doc: Doc) -> str:
    return f"job {doc['job']}" if doc["job"] else f"batch {doc['batch']}"


def callback_page(doc: Doc) -> list[RenderableType]:
    """One callback."""
    now = time.time()
    facts = {
        "event": f"{doc['type']} of {_subject(doc)}, sequence {doc['sequence']}",
        "happened": format_age(doc["created_at"], now),
        "to": doc["url"],
        "tries": doc["tries"],
        "last try": format_age(doc["tried_at"], now),
        "status": doc["status"],
        "error": doc["error"],
        "next try": format_age(doc["next_try_at"], now),
    }
    head = text(doc["id"], "bold").append(f"  {doc['state']}", style=_STYLES[doc["state"]])
    lines = [text(f"  {name}: {value}") for name, value in facts.items() if value not in ("", None)]
    parts: list[RenderableType] = [head, *lines]
    if doc["state"] != "pending":
        command = command_line("callbacks", "resend", str(doc["id"]))
        parts.append(text(f"  $ {command}", "bold"))
    return parts
