"""The tools that read, and the one that enqueues."""

import hashlib
import json
import time
from typing import Any, Final, cast

import msgspec

from jobs.states import SETTLED_OR_PARKED
from worker.cli.mcp import untrusted
from worker.cli.mcp.arguments import (
    EnqueueArguments,
    GetJobArguments,
    GroupArguments,
    JobArguments,
    ListArguments,
    NoArguments,
    WaitArguments,
)
from worker.cli.mcp.bounds import CHUNK_CHARS, value_at
from worker.cli.mcp.calls import BadArgument, ToolCall, checked
from worker.cli.mcp.untrusted import UNTRUSTED, marked, split
from worker.cli.text import Doc

LONG_POLL_S: Final = 2.0
"""Of one long poll: progress is reported between them."""
CALL_SPARE_S: Final = 15.0

STATUS_CREATED: Final = 202

PART: Final = "part"
"""Names an answer that holds one value, and no more of it than was asked for."""

ENQUEUED: Final = "enqueued"
EXISTED: Final = "existed"


def shown_job(doc: Doc) -> Doc:
    """A job as the tools answer it."""
    known, rest = split(_filled(doc), untrusted.JOB)
    return {"job": known, UNTRUSTED: rest}


def _filled(job: Doc) -> Doc:
    return {name: value for name, value in job.items() if value not in (None, "", [], False)}


async def get_job(call: ToolCall, arguments: Doc) -> Doc:
    """A job, or one value of it as text."""
    wanted = checked(arguments, GetJobArguments)
    doc = (await call.api.get("jobs", wanted.id)).doc
    if wanted.pointer is None:
        return shown_job(doc)
    known, rest = split(doc, untrusted.JOB)
    try:
        value = value_at(rest, wanted.pointer)
    except KeyError:
        names = ", ".join(f"/{name}" for name in rest) or "nothing"
        raise BadArgument(f"pointer: leads nowhere in `untrusted`; it has {names}") from None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    end = wanted.offset + CHUNK_CHARS
    part = {"pointer": wanted.pointer, "offset": wanted.offset, "total_chars": len(text)}
    return {
        "job": {name: known[name] for name in ("id", "state")},
        PART: {**part, "next_offset": end if end < len(text) else None},
        UNTRUSTED: {"text": text[wanted.offset : end]},
    }


async def list_jobs(call: ToolCall, arguments: Doc) -> Doc:
    """A page of jobs, newest first."""
    wanted = checked(arguments, ListArguments)
    doc = (await call.api.get("jobs", query={**arguments, "limit": wanted.limit})).doc
    items: list[Doc] = doc["items"]
    return {
        "items": [marked(_brief(one), untrusted.JOB) for one in items],
        "next_cursor": doc["next_cursor"],
    }


def _brief(job: Doc) -> Doc:
    """A job in a list: without its history and without what is empty."""
    return {
        name: value for name, value in _filled(job).items() if name not in ("attempts", "events")
    }


async def explain_job(call: ToolCall, arguments: Doc) -> Doc:
    """Why a job does not run."""
    wanted = checked(arguments, JobArguments)
    doc = (await call.api.get("jobs", wanted.id, "why")).doc
    known, rest = split(doc, untrusted.WHY)
    return {"why": known, UNTRUSTED: rest}


async def list_groups(call: ToolCall, arguments: Doc) -> Doc:
    """Parked jobs or dead letters by cause."""
    checked(arguments, GroupArguments)
    doc = (await call.api.get("groups", query=arguments)).doc
    return {"items": [marked(one, untrusted.GROUP) for one in doc["items"]]}


async def list_holds(call: ToolCall, arguments: Doc) -> Doc:
    """Every hold."""
    checked(arguments, NoArguments)
    doc = (await call.api.get("holds")).doc
    return {"items": [marked(one, untrusted.HOLD) for one in doc["items"]]}


async def get_stats(call: ToolCall, arguments: Doc) -> Doc:
    """Counts of everything."""
    checked(arguments, NoArguments)
    known, rest = split((await call.api.get("stats")).doc, untrusted.STATS)
    return {"stats": known, UNTRUSTED: rest}


async def wait_for_job(call: ToolCall, arguments: Doc) -> Doc:
    """A job as soon as it is settled or parked, or as it is when the time is up."""
    wanted = checked(arguments, WaitArguments)
    started = time.monotonic()
    while True:
        waited_s = time.monotonic() - started
        poll_s = min(LONG_POLL_S, max(0.0, wanted.timeout_s - waited_s))
        response = await call.api.get(
            *("jobs", wanted.id, "wait"),
            query={"timeout_s": f"{poll_s:.3f}"},
            timeout_s=poll_s + CALL_SPARE_S,
        )
        is_over = response.doc["state"] in SETTLED_OR_PARKED
        waited_s = time.monotonic() - started
        if is_over or waited_s >= wanted.timeout_s:
            return {"is_over": is_over, **shown_job(response.doc)}
        sentence = f"{wanted.id} is {response.doc['state']}"
        await call.report(round(waited_s, 1), wanted.timeout_s, sentence)


async def enqueue_job(call: ToolCall, arguments: Doc) -> Doc:
    """Enqueue a job, or say what it would cost."""
    wanted = checked(arguments, EnqueueArguments)
    given = {
        name: value
        for name, value in arguments.items()
        if name not in ("key", "dry_run") and value is not None
    }
    if wanted.dry_run:
        response = await call.api.post_idempotent("jobs", "dry-run", body=given)
        known, rest = split(response.doc, untrusted.PREVIEW)
        return {"outcome": "dry_run", "dry_run": known, UNTRUSTED: rest}
    request = {"id": derived_id(given, wanted.key), **given}
    response = await call.api.post_idempotent("jobs", body=request)
    outcome = ENQUEUED if response.status == STATUS_CREATED else EXISTED
    return {"outcome": outcome, **shown_job(response.doc)}


def derived_id(request: Doc, key: str | None) -> str:
    """The id of a job that names none: the same for the same request and key, however ordered."""
    content = cast("Any", [request, key])
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
    return f"mcp-{digest[:40]}"
