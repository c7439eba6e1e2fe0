"""`caps`: how many jobs of a lane may be at the provider at once."""

import click

from worker.cli.client_session import call_api
from worker.cli.documents import show_document
from worker.cli.options import as_json, note
from worker.cli.text import sanitize


@click.group(short_help="Concurrency caps of lanes: list, set, remove.")
def caps() -> None:
    """List, set and remove concurrency caps: so many jobs of a lane at the provider at once.

    What is set here counts in place of KNOUDS_LANE_CAPS for the same scope, until it is removed.
    """


@caps.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the caps, by scope: of the settings, and those that operators set."""
    show_document("tables:cap_list", "caps", as_json=as_json, no_wrap=True)


@caps.command("set")
@click.argument("scope")
@click.argument("cap", type=click.IntRange(1, 1_000_000))
@note
def set_cap(*, scope: str, cap: int, note: str) -> None:
    """Let each lane of SCOPE have CAP jobs at once: default/model/suno, default/model, default, *.

    Workers have it with their next admission. What is in flight goes on.
    """
    found = call_api(lambda api: api.put("caps", scope, body={"cap": cap, "note": note})).doc
    click.echo(sanitize(f"{found['scope']}: {found['cap']:,} at once"))


@caps.command()
@click.argument("scope")
@note
def rm(*, scope: str, note: str) -> None:
    """Remove the cap that was set for SCOPE: what the settings say counts again."""
    found = call_api(lambda api: api.delete("caps", scope, body={"note": note})).doc
    left = found["cap"]
    click.echo(sanitize(f"{scope}: " + (f"{left:,} at once, as set up" if left else "no cap")))
