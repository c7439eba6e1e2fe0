"""`batch`: a file of jobs, one JSON object a line, sent in bulk calls."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

import click

from worker.cli.client_session import talk
from worker.cli.exit_codes import Ended, Exit, Failure
from worker.cli.inputs import parse_object
from worker.cli.options import KINDS, as_json, dry_run
from worker.cli.text import clean, command

if TYPE_CHECKING:
    from worker.cli.api_client import Api

Doc = dict[str, Any]

CALL_MOST: Final = 1_000
"""Orders of a call: the API's limit."""

CALL_BYTES: Final = 16 << 20
"""Bytes of a call, well below the API's `KNOUDS_MAX_BODY_BYTES` of 64 MiB."""

MADE: Final = 202
REFUSED_FROM: Final = 400


@dataclass(frozen=True, slots=True)
class Line:
    """An order and where it stands in the file."""

    number: int
    order: Doc
    size: int


@dataclass(slots=True)
class Tally:
    """What became of a file so far."""

    made: int = 0
    known: int = 0
    failed: int = 0
    results: list[Doc] = field(default_factory=list[Doc])

    def fail(self, number: int, message: str) -> None:
        """Report a line that was not enqueued."""
        self.failed += 1
        click.echo(f"line {number}: {clean(message)}", err=True)


@click.command(short_help="Enqueue a file of jobs, one JSON object a line.")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--batch", help="For lines that name no batch.")
@click.option("--kind", type=click.Choice(KINDS), help="For lines that name no kind.")
@click.option("--target", help="For lines that name no target.")
@click.option("--account", help="For lines that name no account.")
@click.option("--priority", type=click.IntRange(-100, 100), help="For lines that name none.")
@click.option("--tag", "tags", multiple=True, help="For lines that have no tags.")
@click.option(
    "--id-prefix", help="Lines without an id get PREFIX-<line number>: safe to run again."
)
@dry_run
@as_json
def batch(
    *, file: IO[str], id_prefix: str | None, dry_run: bool, as_json: bool, **defaults: Any
) -> None:
    """Enqueue FILE (- is standard input): each line is an order as the API takes it.

    \b
    {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}

    A line that is refused is reported with its number and harms no other; the exit code is then 1.
    """  # noqa: D301  \b is click's mark for lines to be kept
    given = {name: value for name, value in defaults.items() if value not in (None, ())}
    tally = Tally()
    lines = _read(file, given, id_prefix, tally)
    if dry_run:
        tally.made = sum(1 for _ in lines)
        click.echo(f"{tally.made} lines are JSON objects, {tally.failed} are not; nothing sent")
    else:
        talk(lambda api: _send(api, lines, tally))
        _report(tally, given.get("batch"), as_json=as_json)
    if tally.failed:
        raise Ended(Exit.FAILED)


def _read(file: IO[str], given: Doc, prefix: str | None, tally: Tally) -> Iterator[Line]:
    from worker.clock import SystemClock  # noqa: PLC0415  not for --help

    clock = SystemClock()
    numbered = enumerate(file, start=1)
    while True:
        try:
            number, text = next(numbered)
        except StopIteration:
            return
        except UnicodeDecodeError:
            raise Failure(f"{file.name}: not UTF-8") from None
        if not text.strip():
            continue
        try:
            order = parse_object(text)
        except ValueError as error:
            tally.fail(number, str(error))
            continue
        # With an id of its own an order may be sent again when an answer was lost.
        own = f"{prefix}-{number}" if prefix else clock.new_id()
        yield Line(number, {"id": own, **given, **order}, len(text))


def _calls(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Cut the lines into calls of bounded count and size."""
    call: list[Line] = []
    size = 0
    for line in lines:
        if call and (len(call) == CALL_MOST or size + line.size > CALL_BYTES):
            yield call
            call, size = [], 0
        call.append(line)
        size += line.size
    if call:
        yield call


async def _send(api: "Api", lines: Iterator[Line], tally: Tally) -> None:
    for call in _calls(lines):
        try:
            answer = await api.send("jobs", "bulk", body={"jobs": [line.order for line in call]})
        except Failure as failure:
            taken = tally.made + tally.known
            raise type(failure)(
                f"{failure.message} (lines {call[0].number} to {call[-1].number} were not"
                f" acknowledged, nor any after them; {taken} before them were)"
            ) from None
        for line, result in zip(call, answer.doc["results"], strict=True):
            _count(tally, line, result)


def _count(tally: Tally, line: Line, result: Doc) -> None:
    tally.results.append({"line": line.number, **result})
    status = int(result["status"])
    if status >= REFUSED_FROM:
        error: Doc = result.get("error") or {}
        tally.fail(line.number, str(error.get("detail") or error.get("title") or f"HTTP {status}"))
    elif status == MADE:
        tally.made += 1
    else:
        tally.known += 1


def _report(tally: Tally, name: str | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"results": tally.results}))
        return
    told = [f"{tally.made} enqueued"]
    told += [f"{tally.known} were enqueued before"] if tally.known else []
    told += [f"{tally.failed} refused"] if tally.failed else []
    click.echo(", ".join(told))
    if name and (tally.made or tally.known):
        click.echo(command("jobs", "ls", "--batch", name))
