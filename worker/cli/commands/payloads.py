"""`payloads`: the keys that encrypt inputs and results."""

import json
from typing import TYPE_CHECKING

import click

from worker.cli.client_session import read_settings
from worker.cli.exit_codes import CommandExit, CommandFailure, ExitCode, InvalidSettings
from worker.cli.redis_store import with_store
from worker.store.payload_cipher import PLAIN

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.store import Store
    from worker.store.payload_rewrap import RewrapReport


@click.group(short_help="Encryption of inputs and results: replace a key.")
def payloads() -> None:
    """Replace the keys that encrypt inputs and results in Redis."""


@payloads.command()
@click.option("--dry-run", is_flag=True, help="Only count the payloads by key.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def rewrap(*, dry_run: bool, as_json: bool) -> None:
    """Encrypt every stored payload under the first key of KNOUDS_PAYLOAD_KEYS.

    It works on Redis itself, with the settings of the workers, which may go on meanwhile. A key may
    be removed from the settings once no payload remains under it. The exit code is 1 while
    payloads remain that are not under the first key.
    """
    settings = read_settings()
    if settings.payload_keys is None and not dry_run:
        raise InvalidSettings("KNOUDS_PAYLOAD_KEYS: is not set; there is no key to encrypt under")
    report = _rewrap(settings, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(_document(report)))
    else:
        click.echo("\n".join(_lines(report)))
    if report.remaining and not dry_run:
        raise CommandExit(ExitCode.FAILED)


@payloads.command()
@click.argument("key_id")
def forget(key_id: str) -> None:
    """Give up a key that is lost, by its ID: workers that lack it start again.

    Jobs whose inputs are encrypted under it park as payload_key_lost, and are not sent.
    """
    from worker.cli.text import sanitize  # noqa: PLC0415  not for --help

    settings = read_settings()

    async def run(store: "Store") -> int:
        return await store.payloads.forget_keys([key_id])

    if not with_store(settings, run):
        raise CommandFailure(f"{sanitize(key_id)}: no process has reported such a key")
    click.echo(f"{sanitize(key_id)} is forgotten")


def _rewrap(settings: "Settings", *, dry_run: bool) -> "RewrapReport":
    from worker.store.payload_rewrap import PayloadRewrap  # noqa: PLC0415  not for --help

    async def run(store: "Store") -> "RewrapReport":
        rewrap = PayloadRewrap(store.payloads, store.jobs, store.webhooks, store.schedules)
        return await rewrap.run(dry_run=dry_run)

    return with_store(settings, run)


def _document(report: "RewrapReport") -> dict[str, object]:
    return {
        "first_key": report.first_key,
        "found": dict(report.found),
        "rewritten": report.rewritten,
        "unreadable": dict(report.unreadable),
        "remaining": report.remaining,
    }


def _lines(report: "RewrapReport") -> list[str]:
    lines = [f"first key: {report.first_key}"]
    lines += [
        f"  {count} found under {name}" for name, count in sorted(report.found.items()) if count
    ]
    lines.append(
        f"{report.rewritten} rewritten, {report.remaining} remain under other keys or plain"
    )
    lines += [_unreadable_line(name, count) for name, count in sorted(report.unreadable.items())]
    return lines


def _unreadable_line(name: str, count: int) -> str:
    if name == PLAIN:
        return (
            f"{count} are not encrypted, and left as they are: `plain` is not one of"
            " KNOUDS_PAYLOAD_KEYS, so somebody else may have written them"
        )
    return f"{count} under {name} cannot be read: add that key, they are as good as lost without it"
