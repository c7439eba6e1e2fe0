"""`audit`: what operators did, and whether the log of it is whole."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli.client_session import read_settings
from worker.cli.documents import show_document
from worker.cli.exit_codes import CommandExit, CommandFailure, ExitCode
from worker.cli.options import page_options, past_option
from worker.cli.redis_store import with_store
from worker.cli.text import sanitize

if TYPE_CHECKING:
    from worker.app.audit_verify import ChainReport
    from worker.store import Store


@click.group(short_help="What operators did: who, when, why, to how many jobs.")
def audit() -> None:
    """Look up what operators did: who, when, what, why, and to how many jobs."""


@audit.command()
@click.option("--by", help="Name of a token, or of an operator.")
@click.option("--act", help="The action, as release or bulk_requeue.")
@past_option("--since", "Since this time, or since 2h ago as 2h.")
@past_option("--until", "Before this time.")
@page_options
def ls(*, as_json: bool, **query: str | int | None) -> None:
    """List audit entries, newest first."""
    show_document("tables:audit_list", "audit", query=query, as_json=as_json)


@audit.command()
def export() -> None:
    """Print every entry from the oldest on, one JSON object per line, with the hashes.

    It reads Redis itself, with the settings of the workers. Keep it elsewhere: `audit verify
    --export FILE` compares Redis with it.
    """

    async def write(store: "Store") -> None:
        async for row in store.audit.rows():
            click.echo(json.dumps(row))

    with_store(read_settings(), write)


@audit.command()
@click.option(
    "--export",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An export: check it as well, and that Redis still has all of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(*, file: Path | None, as_json: bool) -> None:
    """Check that no entry was changed, added or removed in between.

    It reads Redis itself; the keys of KNOUDS_PAYLOAD_KEYS sign entries. The exit code is 1 where
    an entry is not right, and the first such entry is named.
    """
    from worker.app.audit_verify import as_async, missing_of, verify_chain  # noqa: PLC0415

    rows = [] if file is None else _read_export(file)

    async def check(store: "Store") -> "list[tuple[str, ChainReport, tuple[int, str]]]":
        stored = ("Redis", await verify_chain(store.audit.rows(), store.audit.chain), (0, ""))
        if file is None:
            return [stored]
        report = await verify_chain(as_async(rows), store.audit.chain)
        missing = await missing_of(as_async(rows), store.audit.rows())
        return [stored, (str(file), report, missing)]

    found = with_store(read_settings(), check)
    if as_json:
        click.echo(json.dumps({name: _document(report, lost) for name, report, lost in found}))
    else:
        for name, report, lost in found:
            click.echo("\n".join(sanitize(line) for line in _lines(name, report, lost)))
    if any(report.problem or lost[0] for _, report, lost in found):
        raise CommandExit(ExitCode.FAILED)


def _read_export(file: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), start=1):
        try:
            row: dict[str, Any] = json.loads(line)
            rows.append({"id": row["id"]} | {name: str(value) for name, value in row.items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise CommandFailure(f"{file} line {number}: is no entry of an export") from None
    return rows


def _document(report: "ChainReport", lost: tuple[int, str]) -> dict[str, object]:
    return {
        "entries": report.entries,
        "before_chain": report.before_chain,
        "unsigned": report.unsigned,
        "unchecked": report.unchecked,
        "anchor": report.anchor or None,
        "head": report.head or None,
        "late": report.late,
        "first_late": report.first_late or None,
        "broken_at": report.broken_at or None,
        "problem": report.problem or None,
        "missing_in_redis": lost[0],
        "first_missing": lost[1] or None,
    }


def _lines(name: str, report: "ChainReport", lost: tuple[int, str]) -> list[str]:
    lines = [f"{name}: {report.entries} entries, the last has the hash {report.head or '–'}"]
    if report.before_chain:
        lines.append(f"  {report.before_chain} are older than the chain and cannot be checked")
    if report.anchor:
        lines.append(f"  it begins behind the entry {report.anchor}: older entries were trimmed")
    if report.unsigned:
        lines.append(f"  {report.unsigned} are not signed: KNOUDS_PAYLOAD_KEYS was not set")
    if report.unchecked:
        lines.append(f"  {report.unchecked} are signed with a key that is not set here: unchecked")
    if report.late:
        lines.append(
            f"  {report.late} were written more than 10 minutes after what they tell of, the first"
            f" is {report.first_late}: Redis refused them meanwhile, or their ids were changed"
        )
    if report.problem:
        lines.append(f"  BROKEN at entry {report.broken_at}: {report.problem}")
    if lost[0]:
        lines.append(
            f"  {lost[0]} of its entries are not in Redis, the first is {lost[1]}: Redis came back"
            " with older data, or entries were trimmed or removed"
        )
    return lines
