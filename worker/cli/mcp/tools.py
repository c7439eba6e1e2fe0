"""Every tool in one table. A tool is named as the operation of the API that it calls."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel

from worker.cli.mcp import actions, arguments, reads, schemas
from worker.cli.mcp.calls import ToolCall
from worker.cli.mcp.options import ToolLevel
from worker.cli.text import Doc


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool."""

    name: str
    level: ToolLevel
    title: str
    description: str
    arguments: type[BaseModel]
    answer: Doc
    run: Callable[[ToolCall, Doc], Awaitable[Doc]]
    operations: tuple[str, ...] = ()
    """What it calls of the API beside the operation of its name."""
    is_destructive: bool = False
    """It may pay twice, or it gives something up."""
    is_sending: bool = False
    """The provider gets a run after it."""

    @property
    def needs(self) -> frozenset[str]:
        """The operations of the API that a token must be allowed to call."""
        return frozenset((self.name, *self.operations))


@cache
def listed(name: str) -> Tool:
    """A tool as a client sees it."""
    row = TOOLS_BY_NAME[name]
    return Tool(
        name=row.name,
        title=row.title,
        description=row.description,
        input_schema=arguments.input_schema(row.arguments),
        output_schema=row.answer,
        annotations=ToolAnnotations(
            title=row.title,
            read_only_hint=row.level is ToolLevel.READ,
            destructive_hint=row.is_destructive,
            idempotent_hint=True,
            open_world_hint=row.is_sending,
        ),
    )


_CONFIRM: Final = (
    " The first call is a dry run: it says how many jobs, about how many credits, and gives a"
    " token. Nothing is done before a call with the same arguments and that token as `confirm`; let"
    " a person decide on it."
)


def _action(
    name: str,
    title: str,
    description: str,
    model: type[BaseModel],
    run: Callable[[ToolCall, Doc], Awaitable[Doc]],
    *operations: str,
    is_destructive: bool = False,
    is_sending: bool = False,
) -> ToolRow:
    return ToolRow(
        name,
        ToolLevel.ACT,
        title,
        description + _CONFIRM,
        model,
        schemas.ACTION_ANSWER,
        run,
        operations,
        is_destructive=is_destructive,
        is_sending=is_sending,
    )


_READ: Final = ToolLevel.READ

TOOLS: Final[tuple[ToolRow, ...]] = (
    ToolRow(
        "enqueue_job",
        ToolLevel.ENQUEUE,
        "Enqueue a job",
        "Enqueue a run of a model or workflow, which costs credits; with dry_run, only its"
        " estimate. It is safe to repeat: the same arguments are the same job, and its state is the"
        " answer. To run the same once more, choose another `key`. Then wait with wait_for_job.",
        arguments.EnqueueArguments,
        schemas.ENQUEUE_ANSWER,
        reads.enqueue_job,
        ("preview_job",),
        is_sending=True,
    ),
    ToolRow(
        "wait_for_job",
        _READ,
        "Wait for a job",
        "The job as soon as it is settled (succeeded, dead, cancelled) or parked, or as it is when"
        " timeout_s has passed: if `is_over` is false, call again. Progress is reported.",
        arguments.WaitArguments,
        schemas.WAIT_ANSWER,
        reads.wait_for_job,
    ),
    ToolRow(
        "get_job",
        _READ,
        "Show a job",
        "One job with its inputs, result, attempts and history. Long texts are cut, and `cut` says"
        " where: call again with `pointer` (without /untrusted) and `offset` for the rest.",
        arguments.GetJobArguments,
        schemas.JOB_ANSWER,
        reads.get_job,
    ),
    ToolRow(
        "list_jobs",
        _READ,
        "List jobs",
        "Jobs that match every argument given, newest first, without inputs and results. Read on"
        " with `cursor`.",
        arguments.ListArguments,
        schemas.PAGE_ANSWER,
        reads.list_jobs,
    ),
    ToolRow(
        "explain_job",
        _READ,
        "Say why a job does not run",
        "What keeps a job from running, in the order to check, and what an operator can do.",
        arguments.JobArguments,
        schemas.WHY_ANSWER,
        reads.explain_job,
    ),
    ToolRow(
        "list_groups",
        _READ,
        "Group parked jobs or dead letters",
        "Parked jobs (or with state dead: dead letters) by code and target: how many, since when,"
        " what to do, and what running them again costs.",
        arguments.GroupArguments,
        schemas.ITEMS_ANSWER,
        reads.list_groups,
    ),
    ToolRow(
        "list_holds",
        _READ,
        "List holds",
        "The closed gates: their scope, why, what an operator must do, and how many jobs they"
        " parked.",
        arguments.NoArguments,
        schemas.ITEMS_ANSWER,
        reads.list_holds,
    ),
    ToolRow(
        "get_stats",
        _READ,
        "Count everything",
        "Jobs by state, the fullest lanes, rate limits, workers, holds.",
        arguments.NoArguments,
        schemas.STATS_ANSWER,
        reads.get_stats,
    ),
    _action(
        "release_jobs",
        "Release parked jobs",
        "Return parked jobs to the queue, after their cause was fixed. Jobs that a hold parked are"
        " released with release_hold.",
        arguments.BulkArguments,
        actions.release_jobs,
        is_sending=True,
    ),
    _action(
        "requeue_jobs",
        "Requeue dead letters",
        "Run dead letters again with new attempts, with patched inputs if you like.",
        arguments.RequeueArguments,
        actions.requeue_jobs,
        is_sending=True,
    ),
    _action(
        "discard_jobs",
        "Discard parked jobs and dead letters",
        "Give parked jobs or dead letters up: they end as cancelled.",
        arguments.BulkArguments,
        actions.discard_jobs,
        is_destructive=True,
    ),
    _action(
        "cancel_jobs",
        "Cancel jobs",
        "Cancel jobs that have not ended; a run that the provider has may still be charged.",
        arguments.BulkArguments,
        actions.cancel_jobs,
        is_destructive=True,
    ),
    _action(
        "resolve_job",
        "Resolve an uncertain job",
        "Say what became of a submit whose outcome is unknown: execution_id of its run, or outcome"
        " resubmit (which pays twice if the first run exists) or discard. See explain_job first.",
        arguments.ResolveArguments,
        actions.resolve_job,
        *("get_job", "resubmit_jobs"),
        is_destructive=True,
        is_sending=True,
    ),
    _action(
        "set_hold",
        "Pause a scope",
        "Stop submits of an account, route or target until the hold is released.",
        arguments.SetHoldArguments,
        actions.set_hold,
        *("list_holds", "get_stats"),
    ),
    _action(
        "release_hold",
        "Release a hold",
        "Open a closed gate after its cause was fixed: one canary goes first, then the jobs that it"
        " parked and those queued behind it, by themselves.",
        arguments.ReleaseHoldArguments,
        actions.release_hold,
        *("list_holds", "get_stats", "cancel_jobs", "discard_jobs"),
        is_sending=True,
    ),
)

TOOLS_BY_NAME: Final = {row.name: row for row in TOOLS}


def offered(open_levels: Collection[ToolLevel], operations: Iterable[str]) -> list[ToolRow]:
    """The tools of these levels that a token with these operations can use."""
    allowed = frozenset(operations)
    return [row for row in TOOLS if row.level in open_levels and row.needs <= allowed]
