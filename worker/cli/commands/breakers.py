"""`breakers`: gates that close and open by themselves."""

import click

from worker.cli.actions import act_on_ids
from worker.cli.documents import show_document
from worker.cli.options import as_json, note

_ids = click.argument("breaker_ids", nargs=-1, required=True, metavar="BREAKER_ID...")


@click.group(short_help="Gates that close by themselves: list, probe, reset.")
def breakers() -> None:
    """List, probe and reset breakers.

    A breaker stops submits where the provider fails, and probes by itself until it works again. It
    needs nobody. To stop a scope by hand, use `holds set`.
    """


@breakers.command()
@as_json
def ls(*, as_json: bool) -> None:
    """List the breakers that stop or slow submits, or count failures: why, and the next probe."""
    show_document("tables:breaker_list", "breakers", as_json=as_json, no_wrap=True)


@breakers.command()
@_ids
@note
def probe(*, breaker_ids: tuple[str, ...], note: str) -> None:
    """Probe open breakers now, instead of after the pause."""
    act_on_ids("breakers", breaker_ids, "probe", {"note": note})


@breakers.command()
@_ids
@note
def reset(*, breaker_ids: tuple[str, ...], note: str) -> None:
    """Close breakers without a probe: submits go again at once."""
    act_on_ids("breakers", breaker_ids, "reset", {"note": note})
