"""`batch`: a file of jobs, one JSON object per line, sent in bulk calls."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

import click

from worker.cli.client_session import STATUS_ENQUEUED, STATUS_ERROR, call_api
from worker.cli.exit_codes import CommandExit, CommandFailure, ExitCode
from worker.cli.inputs import parse_object
from worker.cli.options import KINDS, as_json, dry_run
from worker.cli.text import Doc, command_line, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient

MAX_CALL_JOBS: Final = 1_000
"""Jobs per call: the API's limit."""

MAX_CALL_BYTES: Final = 4 << 20
"""Bytes per call, below the API's `KNOUDS_MAX_BODY_BYTES` of 8 MiB. One larger job goes alone."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A job request and its line in the file."""

    number: int
    """From 1."""
    request: Doc
    size_bytes: int
    """Of the request as it is sent."""


@dataclass(slots=True)
class BatchCounts:
    """The results of a file so far."""

    enqueued: int = 0
    duplicates: int = 0
    failed: int = 0
    unconfirmed: int = 0
    """Of the enqueued and the duplicates: too few replicas have them."""
    results: list[Doc] = field(default_factory=list[Doc])

    def report_failure(self, number: int, message: str) -> None:
        """Count a line that was not enqueued, and report it on stderr."""
        self.failed += 1
        click.echo(f"line {number}: {sanitize(message)}", err=True)


@click.command(short_help="Enqueue a file of jobs, one JSON object per line.")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--batch", help="For lines that name no batch.")
@click.option("--kind", type=click.Choice(KINDS), help="For lines that name no kind.")
@click.option("--target", help="For lines that name no target.")
@click.option("--account", help="For lines that name no account.")
@click.option("--priority", type=click.IntRange(-100, 100), help="For lines that name none.")
@click.option("--tag", "tags", multiple=True, help="For lines that have no tags.")
@click.option("--id-prefix", help="Lines without an id get PREFIX-<line number>: safe to repeat.")
@dry_run
@as_json
def batch(
    *, file: IO[str], id_prefix: str | None, dry_run: bool, as_json: bool, **defaults: Any
) -> None:
    """Enqueue FILE (- is standard input): each line is a job request as the API accepts it.

    \b
    {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}

    A refused line is reported with its number and does not stop the others; the exit code is 1.
    """  # noqa: D301  \b tells click to keep the line breaks
    given = {name: value for name, value in defaults.items() if value not in (None, ())}
    counts = BatchCounts()
    lines = _parse_lines(file, given, id_prefix, counts)
    if dry_run:
        readable = sum(1 for _ in lines)
        click.echo(f"{readable} lines are JSON objects, {counts.failed} are not; nothing sent")
    else:
        call_api(lambda api: _send(api, lines, counts))
        _report(counts, given.get("batch"), as_json=as_json)
    if counts.failed:
        raise CommandExit(ExitCode.FAILED)


def _parse_lines(
    file: IO[str], defaults: Doc, prefix: str | None, counts: BatchCounts
) -> Iterator[BatchLine]:
    from worker.clock import SystemClock  # noqa: PLC0415  not for --help

    clock = SystemClock()
    try:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                fields = parse_object(text)
            except ValueError as error:
                counts.report_failure(number, str(error))
                continue
            # A request with an id can be sent again when its response was lost.
            own_id = f"{prefix}-{number}" if prefix else clock.new_id()
            request: Doc = {"id": own_id, **defaults, **fields}
            size_bytes = len(json.dumps(request))  # ASCII: a character is a byte
            yield BatchLine(number, request, size_bytes)
    except UnicodeDecodeError:
        raise CommandFailure(f"{file.name}: not UTF-8") from None


def _chunks(lines: Iterator[BatchLine]) -> Iterator[list[BatchLine]]:
    """Split the lines into calls of bounded count and size."""
    call: list[BatchLine] = []
    size_bytes = 0
    for line in lines:
        if call and (len(call) == MAX_CALL_JOBS or size_bytes + line.size_bytes > MAX_CALL_BYTES):
            yield call
            call, size_bytes = [], 0
        call.append(line)
        size_bytes += line.size_bytes
    if call:
        yield call


async def _send(api: "ApiClient", lines: Iterator[BatchLine], counts: BatchCounts) -> None:
    for call in _chunks(lines):
        try:
            response = await api.post_idempotent(
                "jobs", "bulk", body={"jobs": [line.request for line in call]}
            )
        except CommandFailure as failure:
            acknowledged = counts.enqueued + counts.duplicates
            raise type(failure)(
                f"{failure.message} (lines {call[0].number} to {call[-1].number} were not"
                f" acknowledged, nor any after them; {acknowledged} before them were)"
            ) from None
        for line, result in zip(call, response.doc["results"], strict=True):
            _count_result(counts, line, result)


def _count_result(counts: BatchCounts, line: BatchLine, result: Doc) -> None:
    counts.results.append({"line": line.number, **result})
    status = int(result["status"])
    if status >= STATUS_ERROR:
        error: Doc = result.get("error") or {}
        counts.report_failure(
            line.number, str(error.get("detail") or error.get("title") or f"HTTP {status}")
        )
        return
    counts.unconfirmed += result.get("durability") == "unconfirmed"
    if status == STATUS_ENQUEUED:
        counts.enqueued += 1
    else:
        counts.duplicates += 1


def _report(counts: BatchCounts, batch_name: str | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"results": counts.results}))
        return
    parts = [f"{counts.enqueued} enqueued"]
    parts += [f"{counts.duplicates} were enqueued before"] if counts.duplicates else []
    if counts.unconfirmed:
        parts.append(f"{counts.unconfirmed} unconfirmed: too few replicas have them yet")
    parts += [f"{counts.failed} refused"] if counts.failed else []
    click.echo(", ".join(parts))
    if batch_name and (counts.enqueued or counts.duplicates):
        click.echo(command_line("jobs", "ls", "--batch", batch_name))
