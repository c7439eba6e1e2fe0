"""`batch`: a file of jobs, one a line, sent in bulk calls; and their results as they come."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from worker.cli.batch_file import BatchLine, LineReader, opened_text
from worker.cli.batch_output import OutputBusy, ResultFile
from worker.cli.client_session import call_api
from worker.cli.exit_codes import CommandExit, CommandFailure
from worker.cli.options import dry_run
from worker.cli.text import Doc, command_line, sanitize

if TYPE_CHECKING:
    from worker.cli.batch_run import BatchRun

STANDARD_INPUT: Final = "-"
FORMATS: Final = ("jsonl", "csv")


@click.command(short_help="Run a file of jobs; --out for their results.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--name", help="Of the batch; without it, that of the file.")
@click.option("--model", metavar="MODEL", help="What each line runs that does not say so.")
@click.option("--workflow", metavar="SLUG", help="What each line runs that does not say so.")
@click.option("--out", metavar="RESULTS.jsonl", help="Wait, and write a line for each result.")
@click.option("--in-order", is_flag=True, help="At the end, sort --out by the lines of FILE.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="By default as FILE ends.")
@click.option("--account", help="For lines that name no account.")
@click.option("--priority", type=click.IntRange(-100, 100), help="For lines that name none.")
@click.option("--tag", "tags", multiple=True, help="For lines that have no tags.")
@click.option("--fair-key", help="For lines that name none: in a lane, keys take turns.")
@click.option("--callback-url", help="Who hears that it is complete; its host must be allowed.")
@click.option("--budget", type=float, metavar="CREDITS", help="What all runs may cost at most.")
@dry_run
def batch(
    *,
    file: str,
    name: str | None,
    out: str | None,
    in_order: bool,
    format_: str | None,
    dry_run: bool,
    model: str | None,
    workflow: str | None,
    callback_url: str | None,
    budget: float | None,
    **defaults: Any,
) -> None:
    """Run every line of FILE (- is standard input): JSON lines, or CSV with a head row.

    \b
    {"prompt": "a cat"}                     the inputs, with --model or --workflow
    {"kind": "model", "target": "suno", "inputs": {"prompt": "a cat"}, "priority": 5}

    The same command again makes no second job, also after it was interrupted at any moment: ids
    are made of the batch and the content of each line. A refused line does not stop the others.
    """  # noqa: D301  \b tells click to keep the line breaks
    if model and workflow:
        raise click.UsageError("give --model or --workflow, not both")
    if in_order and out is None:
        raise click.UsageError("--in-order sorts the file of --out: give that, too")
    given = {key: value for key, value in defaults.items() if value not in (None, ())}
    if model or workflow:
        given |= {"kind": "model" if model else "workflow", "target": model or workflow}
    batch_name = name or _name_of(file)
    from worker.cli.batch_run import BatchRun  # noqa: PLC0415  not for --help

    run = BatchRun(batch_name, budget, callback_url, is_terminal=sys.stderr.isatty())
    reader = LineReader(batch_name, given, run.refuse)
    lines = _lines(file, format_ or _format_of(file), reader)
    with ExitStack() as stack:
        if dry_run:
            call_api(lambda api: run.check(api, lines))
            _report_check(run)
        else:
            results = _opened(stack, out)
            call_api(lambda api: run.run(api, lines, results))
            if results is not None and in_order:
                _sort(results, run)
            _report(run, waited=results is not None)
    raise CommandExit(run.exit_code(waited=out is not None and not dry_run))


def _name_of(file: str) -> str:
    if file == STANDARD_INPUT:
        raise click.UsageError("standard input has no name: give the batch one with --name")
    return Path(file).stem


def _format_of(file: str) -> str:
    return "csv" if file.lower().endswith(".csv") else "jsonl"


def _lines(file: str, format_: str, reader: LineReader) -> Iterator[BatchLine]:
    """The lines of the file; raises `BrokenFile` where it cannot be read any further."""
    from worker.cli.batch_run import BrokenFile  # noqa: PLC0415  not for --help

    read: Callable[[IO[str]], Iterator[BatchLine]] = (
        reader.csv_rows if format_ == "csv" else reader.json_lines
    )
    try:
        with _opened_bytes(file) as raw:
            text = opened_text(raw)
            try:
                yield from read(text)
            finally:
                text.detach()
    except OSError as error:
        raise BrokenFile(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise BrokenFile(f"{file}: {error}") from None


def _opened_bytes(file: str) -> AbstractContextManager[IO[bytes]]:
    """The file; standard input with a buffer of its own.

    As it ends, Python waits for the usual one, which the thread that reads may hold.
    """
    if file != STANDARD_INPUT:
        return Path(file).open("rb")
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except io.UnsupportedOperation:
        return nullcontext(sys.stdin.buffer)


def _opened(stack: ExitStack, out: str | None) -> ResultFile | None:
    if out is None:
        return None
    try:
        return stack.enter_context(ResultFile(Path(out)))
    except (OutputBusy, ValueError) as error:
        raise CommandFailure(str(error)) from None
    except OSError as error:
        raise CommandFailure(f"cannot write {out}: {error.strerror}") from None


def _sort(results: ResultFile, run: "BatchRun") -> None:
    try:
        results.sort(run.numbers)
    except OSError as error:
        raise CommandFailure(f"cannot sort the results: {error.strerror or error}") from None


def _report_check(run: "BatchRun") -> None:
    credits_text = f"about {run.est_cost:,.10g} credits" if run.is_cost_known else "cost unknown"
    refused = f", {run.refused} are refused" if run.refused else ""
    click.echo(f"{run.readable} lines can be sent{refused}; {credits_text}; nothing sent")


def _report(run: "BatchRun", *, waited: bool) -> None:
    parts = [f"{run.enqueued} enqueued"]
    parts += [f"{run.duplicates} were enqueued before"] if run.duplicates else []
    if run.unconfirmed:
        parts.append(f"{run.unconfirmed} unconfirmed: too few replicas have them yet")
    parts += [f"{run.refused} refused"] if run.refused else []
    click.echo(", ".join(parts))
    if run.refused:
        seal = command_line("batches", "seal", run.name)
        click.echo(
            f"the batch is open: correct the refused lines and run this again, or {seal}", err=True
        )
    show = command_line("batches", "show", run.name)
    if not waited:
        click.echo(f"see how far it is: {show}")
        return
    found: Doc = run.states
    counts = [f"{count} {state}" for state, count in found.items() if count]
    click.echo(sanitize(", ".join(counts) or "no jobs"))
    if found.get("parked") or found.get("dead"):
        click.echo(f"see why: {show}")
