"""Acts of a person: on single jobs one by one, or on all that a filter admits."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli.exit_codes import Exit, Failure
from worker.cli.text import clean

if TYPE_CHECKING:
    from worker.cli.api_client import Answer, Api

Doc = dict[str, Any]


async def act_on_each(
    api: "Api", path: str, names: Sequence[str], act: str, body: Doc, *, dry: bool = False
) -> list[Exit]:
    """Do one act on each; a refusal is reported and harms no other. Returns an exit code for each.

    An API that cannot be reached ends it, since the rest would fare no better.
    """
    codes: list[Exit] = []
    for name in names:
        try:
            if dry:
                answer = await api.get(path, name)
                told = f"{answer.doc['state']}, nothing done"
            else:
                told = _outcome(await api.post(path, name, act, body=body))
        except Failure as failure:
            if failure.exit_code != Exit.FAILED:
                raise
            click.echo(f"{clean(name)}: {failure.message}", err=True)
            codes.append(Exit.FAILED)
        else:
            click.echo(clean(f"{name}: {told}"))
            codes.append(Exit.OK)
    return codes


def _outcome(answer: "Answer") -> str:
    """What has become of a job, or of a hold."""
    if "released" in answer.doc:
        return f"released, {jobs(int(answer.doc['released']))} back in line"
    return str(answer.doc["state"])


async def act_on_all(
    api: "Api", act: str, wanted: Doc, *, extra: Doc, note: str, dry: bool, sure: bool
) -> None:
    """Do one act on every job that `wanted` admits: counted first, asked about, then done."""
    body: Doc = {"filter": wanted, "note": note, **extra}
    foreseen = (await api.post("bulk", act, body={**body, "dry_run": True})).doc
    matched = number(foreseen, "matched")
    if dry or not matched:
        click.echo(f"{act}: {jobs(matched)} matched, nothing done")
        return
    confirm(f"{act} {jobs(matched)}?", sure=sure)
    done = (await api.post("bulk", act, body=body)).doc
    click.echo(f"{act}: {told(done)}")


def number(doc: Doc, name: str) -> int:
    """One count of an answer; Failure where it has none, as that of another version may not."""
    value = doc.get(name)
    if not isinstance(value, int):
        raise Failure(f"the API's answer has no {name}: its version is not that of this command")
    return value


def told(counts: Doc) -> str:
    """The counts of a bulk call in words."""
    names = ("matched", "done", "skipped", "failed", "holds_released")
    parts = [f"{counts[name]} {name.replace('_', ' ')}" for name in names if counts.get(name)]
    if counts.get("est_cost") is not None:
        parts.append(f"about {counts['est_cost']:g} credits")
    why = [f"skipped {count}: {reason}" for reason, count in counts.get("skipped_why", {}).items()]
    errors = [f"{error['id']}: {error['detail']}" for error in counts.get("errors", [])]
    return "\n".join(clean(line) for line in (", ".join(parts) or "nothing", *why, *errors))


def confirm(question: str, *, sure: bool) -> None:
    """Ask on a terminal, unless told to be sure; a no ends the command with nothing done."""
    if sure or not is_terminal():
        return
    if not click.confirm(question, err=True):
        raise Failure("nothing done")


def is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def jobs(number: int) -> str:
    """`1 job`, `2 jobs`."""
    return "1 job" if number == 1 else f"{number} jobs"


def choose(names: Sequence[str], wanted: Doc, *, everything: bool = False) -> bool:
    """Tell whether single jobs are meant (else a filter); usage error unless just one is given."""
    if bool(names) == bool(wanted or everything):
        raise click.UsageError("give either job ids, or options that choose jobs (see --help)")
    return bool(names)
