"""One job as a page: its fields, why it stopped, its attempts and its timeline."""

import json
import time
from typing import Final

from rich.console import RenderableType
from rich.table import Table

from worker.cli.next_steps import job_commands
from worker.cli.output import (
    Columns,
    doc_table,
    key_value_table,
    state_text,
    text,
    widest,
)
from worker.cli.text import Doc, format_age, format_duration, lane_of, parse_time

PAYLOAD_MAX_CHARS: Final = 2_000
"""Longest inputs or result that is shown whole; `--json` always shows all of it."""

EVENT_LABELS: Final = {"dead_letter": "dead-lettered"}
"""Events whose stored name does not read as words."""


def job_page(job: Doc, evidence: Doc | None = None) -> list[RenderableType]:
    """A job with its attempts and events; `evidence` is about its submit, where it is uncertain."""
    now = time.time()
    parts: list[RenderableType] = [key_value_table(_summary_rows(job, now))]
    if job.get("reason"):
        parts += [text(""), key_value_table(_reason_rows(job))]
    if evidence:
        parts += [text(""), *_evidence(evidence, now)]
    parts += [text(""), key_value_table(_payload_rows(job))]
    if job.get("attempts"):
        parts += [text(""), _attempts(job["attempts"], now)]
    if job.get("events"):
        parts += [text(""), _timeline(job["events"], now)]
    return parts


def why_page(doc: Doc) -> list[RenderableType]:
    """What keeps a job from running."""
    now = time.time()
    head = text(f"{doc['id']}: ").append_text(state_text(doc["state"]))
    blockers: list[Doc] = doc["blockers"]
    if not blockers:
        return [head.append(", and nothing blocks it")]
    rows: list[tuple[str, RenderableType]] = []
    for blocker in blockers:
        until = "" if blocker.get("breaker_id") else _expected_end(blocker.get("until"), now)
        rows.append((str(blocker.get("kind")), text(f"{blocker.get('text')} {until}".strip())))
        if blocker.get("action"):
            rows.append(("", text(blocker["action"], "bold")))
    evidence: Doc | None = doc.get("evidence")
    return [head, key_value_table(rows), *(_evidence(evidence, now) if evidence else [])]


def _evidence(evidence: Doc, now: float) -> list[RenderableType]:
    """When an uncertain job was sent, how that ended, and the runs that it may have started."""
    lost = _time_between(evidence, "sent_at", "ended_at")
    lost = lost and f", connection lost after {lost}"
    matches: list[Doc] = evidence.get("executions") or []
    head = key_value_table(
        [
            *_finding_rows(evidence, now),
            ("sent", text(f"{format_age(evidence.get('sent_at'), now)}{lost}")),
            ("possible matches", text("" if matches else "no unmatched runs of this target")),
        ]
    )
    if not matches:
        return [head]
    widths = {"POSSIBLE MATCH": widest(match["execution_id"] for match in matches)}
    columns: Columns = {
        "POSSIBLE MATCH": lambda match: text(match["execution_id"], "bold"),
        "EVENT": lambda match: match.get("event"),
        "WEBHOOK RECEIVED": lambda match: format_age(match.get("received_at"), now),
        "COST": lambda match: match.get("cost") or "",
    }
    return [head, doc_table(matches, columns, right_aligned=("COST",), min_widths=widths)]


def _finding_rows(evidence: Doc, now: float) -> list[tuple[str, RenderableType]]:
    """What the provider's list of runs says about an uncertain submit."""
    if not evidence.get("finding"):
        return []
    note = f": {evidence['note']}" if evidence.get("note") else ""
    read = format_age(evidence.get("checked_at"), now)
    found = f"{evidence['finding']}{note}" + (f" (list read {read})" if read else "")
    rows: list[tuple[str, RenderableType]] = [("finding", text(found, "bold"))]
    listed: list[Doc] = evidence.get("rows") or []
    return rows + [("row", text(_row_text(row, now))) for row in listed]


def _row_text(row: Doc, now: float) -> str:
    cost = row.get("credits")
    parts = [
        f"{row['id']}: {row['status']}",
        "" if cost is None else f"{cost:g} credits",
        f"started {format_age(row.get('created_at'), now)}" if row.get("created_at") else "",
        f"request {row['request_id']}" if row.get("request_id") else "",
        f"attach --execution-id {row['execution_id']}" if row.get("execution_id") else "",
    ]
    return ", ".join(part for part in parts if part)


def _summary_rows(job: Doc, now: float) -> list[tuple[str, RenderableType]]:
    tags = ", ".join(job.get("tags") or [])
    attempt = f"{job.get('attempt', 0)} of {job.get('max_attempts', '?')}"
    cost = job.get("cost")
    return [
        ("job", text(job["id"], "bold")),
        ("state", state_text(job["state"])),
        ("target", text(lane_of(job))),
        ("mode", text(job.get("mode"))),
        ("attempt", text(attempt)),
        ("priority", text(job.get("priority") or "")),
        ("waits for budget", text(job.get("waits_for_budget"))),
        ("batch", text(job.get("batch"))),
        ("fair key", text(job.get("fair_key"))),
        ("after", text(", ".join(job.get("after") or []))),
        ("callbacks to", text(job.get("callback_url"))),
        ("tags", text(tags)),
        ("execution", text(job.get("execution_id"))),
        ("request", text(job.get("request_id"))),
        ("cost", text("" if cost is None else f"{cost:g} credits")),
        ("enqueued", text(format_age(job.get("created_at"), now))),
        ("scheduled", text(format_age(job.get("scheduled_for"), now))),
        ("start by", text(format_age(job.get("start_by"), now))),
        ("submitted", text(format_age(job.get("submitted_at"), now))),
        ("finished", text(format_age(job.get("finished_at"), now))),
        ("estimated end", text(format_age(job.get("eta"), now))),
    ]


def _reason_rows(job: Doc) -> list[tuple[str, RenderableType]]:
    reason: Doc = job["reason"]
    status = reason.get("http_status")
    rows: list[tuple[str, RenderableType]] = [
        ("why", text(f"{reason['code']}{f' (HTTP {status})' if status else ''}", "yellow")),
        ("message", text(reason.get("message"))),
        ("what to do", text(reason.get("action"))),
        ("where", text(reason.get("action_url"))),
    ]
    commands = job_commands(job)
    return rows + [("command" if n == 0 else "or", text(c, "bold")) for n, c in enumerate(commands)]


def _expected_end(until: object, now: float) -> str:
    """When a wait is expected to end: a time that has passed is not "ago", but due."""
    moment = parse_time(until)
    if moment is None:
        return ""
    return "(due now)" if moment <= now else format_age(until, now)


def _payload_rows(job: Doc) -> list[tuple[str, RenderableType]]:
    names = ("metadata", "inputs", "result")
    payloads = [(name, job.get(name)) for name in names]
    return [(name, text(_truncated(value))) for name, value in payloads if value is not None]


def _truncated(value: object) -> str:
    encoded = json.dumps(value, ensure_ascii=False)
    if len(encoded) <= PAYLOAD_MAX_CHARS:
        return encoded
    return f"{encoded[:PAYLOAD_MAX_CHARS]}… ({len(encoded)} characters, all of them with --json)"


def _attempts(attempts: list[Doc], now: float) -> Table:
    columns: Columns = {
        "ATTEMPT": lambda attempt: attempt.get("number"),
        "MODE": lambda attempt: attempt.get("mode"),
        "STARTED": lambda attempt: format_age(attempt.get("started_at"), now),
        "TOOK": lambda attempt: _time_between(attempt, "started_at", "ended_at"),
        "OUTCOME": lambda attempt: attempt.get("outcome") or "in progress",
        "RESPONSE": _response_text,
        "POLLS": lambda attempt: attempt.get("polls") or "",
    }
    return doc_table(attempts, columns, right_aligned=("POLLS",))


def _response_text(attempt: Doc) -> str:
    parts = (attempt.get(name) for name in ("http_status", "code", "message"))
    return " ".join(str(part) for part in parts if part)


def _time_between(doc: Doc, start: str, end: str) -> str:
    """The duration between two times of a document; empty where one is missing."""
    started, ended = parse_time(doc.get(start)), parse_time(doc.get(end))
    return "" if started is None or ended is None else format_duration(ended - started)


def _timeline(events: list[Doc], now: float) -> Table:
    columns: Columns = {
        "WHEN": lambda event: format_age(event.get("at"), now),
        "EVENT": _event_label,
        "BY": lambda event: event.get("by"),
        "NOTE": lambda event: event.get("note"),
    }
    return doc_table(events, columns)


def _event_label(event: Doc) -> str:
    name = str(event.get("event"))
    return EVENT_LABELS.get(name, name.replace("_", " "))
