"""One job as a page: what it is, what came of it, what it waits for, and the road it took."""

import json
import time
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table

from worker.cli.next_steps import job_commands
from worker.cli.output import key_value_table, new_table, state_text, text, widest
from worker.cli.text import format_age, format_duration, lane_of, parse_time

Doc = dict[str, Any]

PAYLOAD_MAX_CHARS: Final = 2_000
"""Characters of inputs or result; all of it is in `--json`."""


def job_page(job: Doc, evidence: Doc | None = None) -> list[RenderableType]:
    """Everything a person asks about one job; `evidence` where it is uncertain."""
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
        return [head.append(", and nothing stands in its way")]
    rows: list[tuple[str, RenderableType]] = []
    for blocker in blockers:
        until = format_age(blocker.get("until"), now)
        rows.append((str(blocker.get("kind")), text(f"{blocker.get('text')} {until}".strip())))
        if blocker.get("action"):
            rows.append(("", text(blocker["action"], "bold")))
    evidence: Doc | None = doc.get("evidence")
    told = _evidence(evidence, now) if evidence else []
    return [head, key_value_table(rows), *told]


def _evidence(evidence: Doc, now: float) -> list[RenderableType]:
    """When an uncertain job was sent, how that ended, and the runs that could be its own."""
    sent, ended = (parse_time(evidence.get(name)) for name in ("sent_at", "ended_at"))
    took = (
        "" if sent is None or ended is None else f", given up after {format_duration(ended - sent)}"
    )
    strays: list[Doc] = evidence.get("executions") or []
    none = "" if strays else "webhooks told of no run of this target without a job"
    head = key_value_table(
        [
            ("sent", text(f"{format_age(evidence.get('sent_at'), now)}{took}")),
            ("candidates", text(none)),
        ]
    )
    if not strays:
        return [head]
    widest_id = {"CANDIDATE": widest(stray["execution_id"] for stray in strays)}
    table = new_table(
        "CANDIDATE", "EVENT", "TOLD", "COST", min_widths=widest_id, right_aligned=("COST",)
    )
    for stray in strays:
        table.add_row(
            text(stray["execution_id"], "bold"),
            text(stray.get("event")),
            text(format_age(stray.get("received_at"), now)),
            text(stray.get("cost") or ""),
        )
    return [head, table]


def _summary_rows(job: Doc, now: float) -> list[tuple[str, RenderableType]]:
    tags = ", ".join(job.get("tags") or [])
    attempt = f"{job.get('attempt', 0)} of {job.get('max_attempts', '?')}"
    cost = job.get("cost")
    return [
        ("job", text(job["id"], "bold")),
        ("state", state_text(job["state"])),
        ("runs", text(lane_of(job))),
        ("mode", text(job.get("mode"))),
        ("attempt", text(attempt)),
        ("priority", text(job.get("priority") or "")),
        ("batch", text(job.get("batch"))),
        ("tags", text(tags)),
        ("execution", text(job.get("execution_id"))),
        ("request", text(job.get("request_id"))),
        ("cost", text("" if cost is None else f"{cost:g} credits")),
        ("enqueued", text(format_age(job.get("created_at"), now))),
        ("scheduled", text(format_age(job.get("scheduled_for"), now))),
        ("submitted", text(format_age(job.get("submitted_at"), now))),
        ("finished", text(format_age(job.get("finished_at"), now))),
        ("likely to end", text(format_age(job.get("eta"), now))),
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
    return rows + [("type" if n == 0 else "or", text(c, "bold")) for n, c in enumerate(commands)]


def _payload_rows(job: Doc) -> list[tuple[str, RenderableType]]:
    found = [("inputs", job.get("inputs")), ("result", job.get("result"))]
    return [(name, text(_truncated(value))) for name, value in found if value is not None]


def _truncated(value: object) -> str:
    written = json.dumps(value, ensure_ascii=False)
    if len(written) <= PAYLOAD_MAX_CHARS:
        return written
    return f"{written[:PAYLOAD_MAX_CHARS]}… ({len(written)} characters, all of them with --json)"


def _attempts(attempts: list[Doc], now: float) -> Table:
    table = new_table(
        "ATTEMPT", "MODE", "BEGAN", "TOOK", "OUTCOME", "ANSWER", "POLLS", right_aligned=("POLLS",)
    )
    for attempt in attempts:
        began, ended = parse_time(attempt.get("started_at")), parse_time(attempt.get("ended_at"))
        took = "" if began is None or ended is None else format_duration(ended - began)
        answer = " ".join(
            str(part)
            for part in (attempt.get("http_status"), attempt.get("code"), attempt.get("message"))
            if part
        )
        table.add_row(
            text(attempt.get("number")),
            text(attempt.get("mode")),
            text(format_age(attempt.get("started_at"), now)),
            text(took),
            text(attempt.get("outcome") or "under way"),
            text(answer),
            text(attempt.get("polls") or ""),
        )
    return table


def _timeline(events: list[Doc], now: float) -> Table:
    table = new_table("WHEN", "EVENT", "BY", "NOTE")
    for event in events:
        table.add_row(
            text(format_age(event.get("at"), now)),
            text(event.get("event")),
            text(event.get("by")),
            text(event.get("note")),
        )
    return table
