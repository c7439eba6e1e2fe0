"""Acts of a person: on single jobs one by one, or on all that a filter admits."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli.exit_codes import CommandFailure, ExitCode
from worker.cli.text import sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse

Doc = dict[str, Any]


async def act_on_each(
    api: "ApiClient",
    path: str,
    ids: Sequence[str],
    action: str,
    body: Doc,
    *,
    dry_run: bool = False,
) -> list[ExitCode]:
    """Do one act on each; a refusal is reported and harms no other. Returns an exit code for each.

    An API that cannot be reached ends it, since the rest would fare no better.
    """
    codes: list[ExitCode] = []
    for name in ids:
        try:
            if dry_run:
                answer = await api.get(path, name)
                told = f"{answer.doc['state']}, nothing done"
            else:
                told = _result_text(await api.post(path, name, action, body=body))
        except CommandFailure as failure:
            if failure.exit_code != ExitCode.FAILED:
                raise
            click.echo(f"{sanitize(name)}: {failure.message}", err=True)
            codes.append(ExitCode.FAILED)
        else:
            click.echo(sanitize(f"{name}: {told}"))
            codes.append(ExitCode.OK)
    return codes


def _result_text(answer: "ApiResponse") -> str:
    """What has become of a job, or of a hold."""
    if "released" in answer.doc:
        return f"released, {job_count(int(answer.doc['released']))} back in line"
    return str(answer.doc["state"])


async def act_on_all(
    api: "ApiClient",
    action: str,
    job_filter: Doc,
    *,
    extra: Doc,
    note: str,
    dry_run: bool,
    assume_yes: bool,
) -> None:
    """Do one act on every job that `wanted` admits: counted first, asked about, then done."""
    body: Doc = {"filter": job_filter, "note": note, **extra}
    foreseen = (await api.post("bulk", action, body={**body, "dry_run": True})).doc
    matched = read_count(foreseen, "matched")
    if dry_run or not matched:
        click.echo(f"{action}: {job_count(matched)} matched, nothing done")
        return
    confirm(f"{action} {job_count(matched)}?", assume_yes=assume_yes)
    done = (await api.post("bulk", action, body=body)).doc
    click.echo(f"{action}: {bulk_summary(done)}")


def read_count(doc: Doc, name: str) -> int:
    """One count of an answer; Failure where it has none, as that of another version may not."""
    value = doc.get(name)
    if not isinstance(value, int):
        raise CommandFailure(
            f"the API's answer has no {name}: its version is not that of this command"
        )
    return value


def bulk_summary(counts: Doc) -> str:
    """The counts of a bulk call in words."""
    names = ("matched", "done", "skipped", "failed", "holds_released")
    parts = [f"{counts[name]} {name.replace('_', ' ')}" for name in names if counts.get(name)]
    if counts.get("est_cost") is not None:
        parts.append(f"about {counts['est_cost']:g} credits")
    why = [f"skipped {count}: {reason}" for reason, count in counts.get("skipped_why", {}).items()]
    errors = [f"{error['id']}: {error['detail']}" for error in counts.get("errors", [])]
    return "\n".join(sanitize(line) for line in (", ".join(parts) or "nothing", *why, *errors))


def confirm(question: str, *, assume_yes: bool) -> None:
    """Ask on a terminal, unless told to be sure; a no ends the command with nothing done."""
    if assume_yes or not is_terminal():
        return
    if not click.confirm(question, err=True):
        raise CommandFailure("nothing done")


def is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def job_count(number: int) -> str:
    """`1 job`, `2 jobs`."""
    return "1 job" if number == 1 else f"{number} jobs"


def are_ids_given(ids: Sequence[str], job_filter: Doc, *, everything: bool = False) -> bool:
    """Tell whether single jobs are meant (else a filter); usage error unless just one is given."""
    if bool(ids) == bool(job_filter or everything):
        raise click.UsageError("give either job ids, or options that choose jobs (see --help)")
    return bool(ids)
