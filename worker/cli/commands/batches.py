"""`batches`: how far batches are, their results, and actions on all jobs of one."""

from typing import TYPE_CHECKING

import click

from jobs.texts import pluralize
from worker.cli.actions import confirm
from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.options import as_json, note, yes
from worker.cli.text import Doc, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient


@click.group(short_help="Batches: list, show, results, seal, cancel, requeue-failed.")
def batches() -> None:
    """Batches: jobs that one name holds together.

    No more jobs join a sealed batch. It is complete once all of its jobs have settled.
    """


@batches.command()
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--cursor", help="Where the previous page ended.")
@as_json
def ls(*, limit: int, cursor: str | None, as_json: bool) -> None:
    """List the batches, the most recently used first."""
    query = {"limit": limit, "cursor": cursor}
    show_document("batch_tables:batch_list", "batches", query=query, as_json=as_json)


@batches.command()
@click.argument("name")
@as_json
def show(*, name: str, as_json: bool) -> None:
    """Show the batch NAME: jobs in each state, cost, and why some failed."""
    show_document("batch_tables:batch_details", "batches", name, as_json=as_json)


@batches.command()
@click.argument("name")
@click.option("--cursor", default="0", help="Go on behind the line with this `cursor`.")
def results(*, name: str, cursor: str) -> None:
    """Print a line of JSON for each settled job of the batch NAME, in the order they settled."""
    call_api(lambda api: _print_results(api, name, cursor))


async def _print_results(api: "ApiClient", name: str, cursor: str) -> None:
    import json  # noqa: PLC0415  not for --help

    while text := (await api.get("batches", name, "results", query={"cursor": cursor})).text:
        click.echo(text, nl=False)
        cursor = str(json.loads(text.splitlines()[-1])["cursor"])


@batches.command()
@click.argument("name")
@note
def seal(*, name: str, note: str) -> None:
    """Let no more jobs join the batch NAME."""
    found = call_api(lambda api: api.post("batches", name, "seal", body={"note": note})).doc
    click.echo(sanitize(f"{name}: {found['state']}, no more jobs may join it"))


@batches.command()
@click.argument("name")
@note
@yes
def cancel(*, name: str, note: str, yes: bool) -> None:
    """Seal the batch NAME, and cancel its jobs that have not settled; parked ones stay."""
    found = call_api(lambda api: api.get("batches", name)).doc
    open_jobs = _count(found, but=("succeeded", "dead", "cancelled", "parked"))
    confirm(
        sanitize(
            f"Cancel {pluralize(open_jobs, 'job')} of {name}? Credits of runs are not refunded"
        ),
        assume_yes=yes,
    )
    _act(name, "cancel", "cancelled", note)


@batches.command("requeue-failed")
@click.argument("name")
@note
@yes
def requeue_failed(*, name: str, note: str, yes: bool) -> None:
    """Queue the dead letters of the batch NAME again, with the inputs they have."""
    dead = int(call_api(lambda api: api.get("batches", name)).doc["states"]["dead"])
    question = f"Requeue {pluralize(dead, 'dead letter')} of {name}? Each is paid for again"
    confirm(sanitize(question), assume_yes=yes)
    _act(name, "requeue-failed", "requeued", note)


def _act(name: str, verb: str, done: str, note: str) -> None:
    found = call_api(lambda api: api.post("batches", name, verb, body={"note": note})).doc
    jobs, batch = found["jobs"], found["batch"]
    text = f"{name}: {pluralize(int(jobs['done']), 'job')} {done}, now {batch['state']}"
    if jobs["failed"]:
        text += f"; {jobs['failed']} failed: {jobs['errors'][0]['detail']}"
    click.echo(sanitize(text))


def _count(batch: Doc, *, but: tuple[str, ...]) -> int:
    return sum(count for state, count in batch["states"].items() if state not in but)
