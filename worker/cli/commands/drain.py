"""`drain`: take workers out of service ahead of a deploy."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from jobs.texts import pluralize
from worker.cli.client_session import call_api
from worker.cli.exit_codes import CommandFailure
from worker.cli.options import note
from worker.cli.text import Doc, redis_lines, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient

POLL_S: Final = 1.0


@click.command(short_help="Take workers out of service ahead of a deploy.")
@click.argument("names", nargs=-1, metavar="[WORKER]...")
@click.option("--all", "everything", is_flag=True, help="Drain every worker that runs now.")
@click.option("--wait", is_flag=True, help="Return when they have no submit and no sync run left.")
@click.option("--undo", is_flag=True, help="Let them take new jobs again.")
@note
def drain(*, names: tuple[str, ...], everything: bool, wait: bool, undo: bool, note: str) -> None:
    """Have workers take no new jobs; they finish what they have, and go on polling.

    WORKER is a worker's id or its host, as `stats` shows them. A drain lasts until it is undone
    with --undo, or until a restart. Start the successor first: with every worker drained, jobs
    wait.
    """
    if bool(names) == everything:
        raise click.UsageError("give either workers (id or host), or --all")
    if undo and wait:
        raise click.UsageError("--wait waits for drained workers: omit it with --undo")
    if undo:
        call_api(lambda api: _undo(api, names, note=note))
    else:
        call_api(lambda api: _drain(api, names, wait=wait, note=note))


async def _undo(api: "ApiClient", names: Sequence[str], *, note: str) -> None:
    for worker in _choose((await api.get("stats")).doc, names):
        undone = (await api.delete("workers", worker["id"], "drain", body={"note": note})).doc
        click.echo(sanitize(f"{undone['id']}: takes new jobs again"))


async def _drain(api: "ApiClient", names: Sequence[str], *, wait: bool, note: str) -> None:
    stats = (await api.get("stats")).doc
    workers: list[Doc] = stats["workers"]
    chosen = _choose(stats, names)
    for worker in chosen:
        drained = (await api.post("workers", worker["id"], "drain", body={"note": note})).doc
        click.echo(sanitize(f"{drained['id']}: drained, {_left_text(drained)}"))
    ids = {worker["id"] for worker in chosen}
    if not any(_takes_work(worker) and worker["id"] not in ids for worker in workers):
        click.echo("no other worker takes jobs: start one (knouds-worker worker)", err=True)
    if wait:
        await _wait_until_empty(api, ids)


def _choose(stats: Doc, names: Sequence[str]) -> list[Doc]:
    """The workers of these ids and hosts, or all of them without names."""
    workers: list[Doc] = stats["workers"]
    if not workers:
        _require_known(stats)
    for name in names:
        if not any(name in (worker["id"], worker["host"]) for worker in workers):
            known = ", ".join(sorted(worker["id"] for worker in workers)) or "none"
            raise CommandFailure(f"no worker runs with the id or host {name}; running: {known}")
    if not workers:
        raise CommandFailure("no worker runs")
    return [
        worker
        for worker in workers
        if not names or worker["id"] in names or worker["host"] in names
    ]


async def _wait_until_empty(api: "ApiClient", ids: set[str]) -> None:
    """Return when each has ended, or is drained and has nothing of the provider's open.

    Raises `CommandFailure` if the drain of one is undone meanwhile, or Redis refuses heartbeats.
    """
    drained: set[str] = set()
    while True:
        stats = (await api.get("stats")).doc
        left: list[Doc] = [worker for worker in stats["workers"] if worker["id"] in ids]
        if len(left) < len(ids):
            _require_known(stats)
        for worker in left:
            if worker["id"] in drained and _takes_work(worker):
                raise CommandFailure(f"{worker['id']}: its drain was undone, it takes jobs again")
        drained |= {worker["id"] for worker in left if worker["drained"]}
        if not any(_takes_work(worker) or _has_open_requests(worker) for worker in left):
            click.echo("nothing is left: they can be stopped")
            return
        await asyncio.sleep(POLL_S)


def _require_known(stats: Doc) -> None:
    """Raise `CommandFailure` where a worker that is not listed may live."""
    if refusals := redis_lines(stats):
        raise CommandFailure(refusals[0])


def _takes_work(worker: Doc) -> bool:
    return not (worker["stopping"] or worker["drained"])


def _has_open_requests(worker: Doc) -> bool:
    return bool(worker["submitting"] or worker["sync_runs"])


def _left_text(worker: Doc) -> str:
    """What it still has to finish."""
    return (
        f"{pluralize(int(worker['submitting']), 'submit')} and"
        f" {pluralize(int(worker['sync_runs']), 'sync run')} left"
    )
