"""Operator actions: on jobs or holds by id, or on every job that a filter matches."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import click

from jobs.texts import pluralize
from worker.cli.client_session import call_api
from worker.cli.exit_codes import CommandExit, CommandFailure, ExitCode
from worker.cli.text import Doc, command_line, sanitize

if TYPE_CHECKING:
    from worker.cli.api_client import ApiClient, ApiResponse


INPUTS_LOST_HINT = (
    "it would park as inputs_lost and is not sent; enqueue it again with the same id and payload"
    " first"
)


def act_on_jobs(
    action: str,
    job_ids: Sequence[str],
    *,
    only_state: str | None = None,
    everything: bool = False,
    fields: Doc | None = None,
    note: str,
    dry_run: bool,
    yes: bool,
    **filters: str | None,
) -> None:
    """Run an action on the jobs named by id, or on those in `only_state` that the filters choose.

    `fields` are more fields of the request. A usage error unless there are either ids, or filters
    or `everything`.
    """
    job_filter: Doc = {name: value for name, value in filters.items() if value is not None}
    if bool(job_ids) == bool(job_filter or everything):
        raise click.UsageError("give either job ids, or options that choose jobs (see --help)")
    body = {"note": note, **(fields or {})}
    if job_ids:
        act_on_ids("jobs", job_ids, action, body, dry_run=dry_run)
    else:
        if only_state is not None:
            job_filter["state"] = only_state
        body["filter"] = job_filter
        call_api(lambda api: _act_in_bulk(api, action, body, dry_run=dry_run, assume_yes=yes))


def act_on_ids(
    path: str, ids: Sequence[str], action: str, body: Doc, *, dry_run: bool = False
) -> None:
    """Run an action on each id and print one line for each.

    One that is refused is reported on stderr, and the others still run; the exit code is then 1.
    The command ends at once where the API cannot be reached.
    """

    async def act_on_one(api: "ApiClient", name: str) -> str:
        if dry_run:
            return _dry_run_text((await api.get(path, name)).doc, action, body)
        return _result_text(await api.post(path, name, action, body=body))

    act_on_each_id(ids, act_on_one)


def act_on_each_id(ids: Sequence[str], act: "Callable[[ApiClient, str], Awaitable[str]]") -> None:
    """Call `act` for each id and print one line for each, as `act_on_ids`."""

    async def act_on_each(api: "ApiClient") -> bool:
        are_all_done = True
        for name in ids:
            try:
                result = await act(api, name)
            except CommandFailure as failure:
                if failure.exit_code != ExitCode.FAILED:
                    raise
                click.echo(f"{sanitize(name)}: {failure.message}", err=True)
                are_all_done = False
            else:
                click.echo(sanitize(f"{name}: {result}"))
        return are_all_done

    if not call_api(act_on_each):
        raise CommandExit(ExitCode.FAILED)


def _dry_run_text(job: Doc, action: str, body: Doc) -> str:
    """The state of a job, and whether it could be sent after the action."""
    text = f"{job['state']}, nothing done"
    is_sent = action in ("release", "requeue") or body.get("outcome") == "resubmit"
    reason: Doc = job.get("reason") or {}
    is_stuck = action == "release" and reason.get("code") == "stuck"
    has_inputs = job.get("inputs") is not None or job.get("payloads_hidden") or body.get("inputs")
    if is_sent and not is_stuck and not has_inputs:
        match job.get("payload_problem"):
            case "payloads_erased":
                return f"{text}; its inputs were erased: enqueue a new job"
            case "payload_unreadable":
                return f"{text}; no key of KNOUDS_PAYLOAD_KEYS of the API reads its inputs"
            case _:
                return f"{text}; it has lost its inputs: {INPUTS_LOST_HINT}"
    return text


def _result_text(response: "ApiResponse") -> str:
    """The new state of a job or breaker, or how many jobs a released hold returned to the queue."""
    if "released" in response.doc:
        return f"released, {pluralize(int(response.doc['released']), 'job')} returned to the queue"
    if "was_off" in response.doc:
        return "on again" if response.doc["was_off"] else "was on already"
    if "next_probe_at" in response.doc:
        return str(response.doc["text"])
    if "client" in response.doc:
        return f"ended: {response.doc['token']} from {response.doc['client'] or 'unknown'}"
    return str(response.doc["state"])


async def _act_in_bulk(
    api: "ApiClient", action: str, body: Doc, *, dry_run: bool, assume_yes: bool
) -> None:
    """Run an action on every job that the filter matches: a dry run, a question, then the action.

    The API decides what it applies to (`POST /v1/bulk/{action}`). Prints the counts and why jobs
    were skipped.
    """
    preview = (await api.post("bulk", action, body={**body, "dry_run": True})).doc
    summary = bulk_summary(action, preview, is_preview=True)
    if dry_run or not preview["done"]:
        click.echo(f"{summary}\nnothing changed")
        return
    count = pluralize(preview["done"], "job")
    risk = " Those that ran are paid twice." if action == "resubmit" else ""
    confirm(f"{summary}\n{action.capitalize()} {count}?{risk}", assume_yes=assume_yes)
    done = (await api.post("bulk", action, body=body)).doc
    click.echo(bulk_summary(action, done, is_preview=False))


def bulk_summary(action: str, counts: Doc, *, is_preview: bool) -> str:
    """The response to a bulk call in words: a line of counts, then why jobs were skipped."""
    from worker.app.action_table import ACTION_TABLE, JobAction  # noqa: PLC0415  not for --help

    participle = ACTION_TABLE[JobAction(action)].past_tense.lower()
    verb = f"would be {participle}" if is_preview else participle
    parts = [f"{pluralize(_count(counts, 'matched'), 'job')} matched"]
    if counts["matched"]:
        parts.append(f"{_count(counts, 'done'):,} {verb}")
    if holds := counts.get("holds_released"):
        parts.append(f"through {pluralize(holds, 'hold')}, one canary first")
    if extended := counts.get("deadlines_extended"):
        runs = pluralize(extended, "stuck run")
        parts.append(f"{runs} of them polled for another deadline with nothing sent")
    if lost := counts.get("inputs_lost"):
        parts.append(f"{lost:,} of them without inputs")
    parts += [f"{counts[name]:,} {name}" for name in ("skipped", "failed") if counts.get(name)]
    if counts["matched"] and counts.get("est_cost") is not None:
        parts.append(f"about {counts['est_cost']:g} credits")
    lines = [f"{action}: {', '.join(parts)}"]
    lines += [f"skipped {count}: {why}" for why, count in counts.get("skipped_why", {}).items()]
    lines += [f"{error['id']}: {error['detail']}" for error in counts.get("errors", [])]
    for one in counts.get("warnings", ()):
        lines.append(f"warning, {pluralize(one['jobs'], 'job')}: {one['message']}")
    if lost:
        lines.append(f"without inputs: {INPUTS_LOST_HINT}")
    if action == "release" and counts.get("skipped"):
        lines.append(f"see what frees them: {command_line('parked', 'groups')}")
    return "\n".join(sanitize(line) for line in lines)


def _count(counts: Doc, name: str) -> int:
    value = counts.get(name)
    if not isinstance(value, int):
        raise CommandFailure(
            f"the API's answer has no {name}: the API and this command are of different versions"
        )
    return value


def confirm(question: str, *, assume_yes: bool) -> None:
    """Ask, unless with --yes. Raises `CommandFailure` for a no, or if nobody can be asked."""
    if assume_yes:
        return
    if not is_terminal():
        raise CommandFailure(f"{question}\nnothing done: there is no terminal to ask on; add --yes")
    if not click.confirm(question, err=True):
        raise CommandFailure("nothing done")


def is_terminal() -> bool:
    """Whether an operator can answer a question."""
    return sys.stdin.isatty()
