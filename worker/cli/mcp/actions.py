"""The tools that act: a dry run and a token first, and the action with that token only."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from jobs.lanes import parse_scope
from worker.app.action_table import ACTION_TABLE, HoldAction, JobAction
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp import untrusted
from worker.cli.mcp.arguments import (
    MAX_ACTION_JOBS,
    NOTE_END,
    BulkArguments,
    ConfirmedArguments,
    ReleaseHoldArguments,
    RequeueArguments,
    ResolveArguments,
    SetHoldArguments,
)
from worker.cli.mcp.calls import BadArgument, ToolCall, checked
from worker.cli.mcp.confirmations import CONFIRM, VALID_S
from worker.cli.mcp.opened_gates import OpenedGates, opened_gates, scope_filter, total_cost
from worker.cli.mcp.reads import shown_job
from worker.cli.mcp.untrusted import UNTRUSTED, marked, split
from worker.cli.text import Doc

MAX_IDS_SHOWN: Final = 20

MANUAL: Final = "manual"
"""The code of a hold that an operator placed."""

GROWTH: Final = 1.1
"""An estimate may grow by a tenth between the dry run and the action: it is learned. So may the
number of jobs behind a gate: they come and go, and none of them is acted on by its id."""

DRY_RUN: Final = "dry_run"
DONE: Final = "done"


class ChangedMeanwhile(CommandFailure):
    """The jobs are not those that the dry run saw."""


@dataclass(frozen=True, slots=True)
class ActionPreview:
    """What an action would do now."""

    effect: str
    seen: Doc
    """What has to be the same when it acts: `jobs`, `est_cost`, `ids` and others."""
    details: Doc
    """More of it to show."""


Preview = Callable[[ToolCall, Doc], Awaitable[ActionPreview]]
Act = Callable[[ToolCall, Doc, Doc], Awaitable[Doc]]
"""Acts with these arguments on what the dry run saw; returns what was done."""


@dataclass(frozen=True, slots=True)
class ConfirmedAction:
    """A tool that acts."""

    tool: str
    model: type[ConfirmedArguments]
    preview: Preview
    act: Act

    async def __call__(self, call: ToolCall, arguments: Doc) -> Doc:
        """The dry run with a token; or, with the token, the action."""
        wanted = checked(arguments, self.model)
        now = time.monotonic()
        if wanted.confirm is None:
            return self._offer(call, arguments, await self.preview(call, arguments), now)
        before = call.confirmations.redeem(wanted.confirm, call.caller, self.tool, arguments, now)
        found = await self.preview(call, arguments)
        if change := describe_change(before, found.seen):
            raise ChangedMeanwhile(
                f"nothing was done, for this is not what the dry run saw: {change}; call without"
                f" `{CONFIRM}` for a new dry run"
            )
        return {"outcome": DONE, **await self.act(call, arguments, before)}

    def _offer(self, call: ToolCall, arguments: Doc, found: ActionPreview, now: float) -> Doc:
        seen = {name: value for name, value in found.seen.items() if name != "ids"}
        shown: Doc = {"effect": found.effect, **seen, **found.details}
        if (ids := found.seen.get("ids")) is not None:
            shown["first_ids"] = ids[:MAX_IDS_SHOWN]
        if ids == []:
            return {"outcome": DRY_RUN, DRY_RUN: shown, "next": "There is nothing to do."}
        return {
            "outcome": DRY_RUN,
            DRY_RUN: shown,
            CONFIRM: call.confirmations.issue(call.caller, self.tool, arguments, found.seen, now),
            "valid_s": VALID_S,
            "next": "Nothing was done. Show this to the person who decides. To do it, call"
            f" {self.tool} with the same arguments and `{CONFIRM}`.",
        }


def describe_change(before: Doc, now: Doc) -> str:
    """What is different between two previews, in words; empty if nothing is.

    >>> describe_change({"jobs": 2, "ids": ["a", "b"]}, {"jobs": 3, "ids": ["a", "b", "c"]})
    'it was 2 jobs, and is 3 now'
    >>> describe_change({"jobs": 100, "est_cost": 9.0}, {"jobs": 104, "est_cost": 9.9})
    ''
    >>> describe_change({"jobs": 100, "est_cost": 4.0}, {"jobs": 104, "est_cost": None})
    'it was about 4 credits, and is unknown credits now'
    """
    if before.get("jobs") != now.get("jobs") and (
        "ids" in now or _has_grown(before.get("jobs"), now.get("jobs"))
    ):
        return f"it was {before['jobs']} jobs, and is {now['jobs']} now"
    if set(before.get("ids") or ()) != set(now.get("ids") or ()):
        return "as many jobs, but not the same ones"
    for name in before.keys() | now.keys():
        if name not in (*_MAY_GROW, "ids") and before.get(name) != now.get(name):
            return f"{name} was {before.get(name)}, and is {now.get(name)} now"
    was, is_now = before.get("queued_jobs"), now.get("queued_jobs")
    if _has_grown(was, is_now):
        return f"it was {was} queued jobs, and is {is_now} now"
    was, is_now = before.get("est_cost"), now.get("est_cost")
    if _has_grown(was, is_now):
        return f"it was about {_credits(was)}, and is {_credits(is_now)} now"
    return ""


_MAY_GROW: Final = ("jobs", "queued_jobs", "est_cost")


def _has_grown(was: float | None, is_now: float | None) -> bool:
    """Whether a number has grown by more than a tenth, or became known or unknown."""
    if was is None or is_now is None:
        return was is not is_now
    return is_now > was * GROWTH


def _credits(amount: float | None) -> str:
    return "unknown credits" if amount is None else f"{amount:g} credits"


def _note(arguments: Doc) -> str:
    return f"{arguments.get('note') or ''}{NOTE_END}".strip()


# Actions on all jobs of a filter.


async def _preview_bulk(action: JobAction, call: ToolCall, arguments: Doc) -> ActionPreview:
    body = _bulk_body(arguments, arguments["filter"])
    dry = {**body, "dry_run": True, "list_ids": True}
    doc = (await call.api.post("bulk", action.value, body=dry)).doc
    if doc["done"] > MAX_ACTION_JOBS:
        raise BadArgument(
            f"filter: matches {doc['done']:,} jobs, and an action over MCP takes at most"
            f" {MAX_ACTION_JOBS:,}: narrow it, or give limit"
        )
    released = doc.get("holds_released", 0)
    seen = {"jobs": doc["done"], "est_cost": doc["est_cost"], "ids": doc["ids"]}
    if released:
        seen["holds_released"] = released
        gates = await _opened_by_filter(call, arguments["filter"])
        seen["queued_jobs"] = gates.queued_jobs
        seen["est_cost"] = total_cost([doc["est_cost"], gates.est_cost])
    counts, rest = split(doc, untrusted.COUNTS)
    rest.pop("ids", None)
    rest.pop("dry_run", None)
    details = {"counts": counts, UNTRUSTED: rest} if rest else {"counts": counts}
    effect = f"Of each job: {ACTION_TABLE[action].effect}."
    if released:
        effect += (
            f" Holds that open: {released}. Of each one canary is sent first; if it is accepted,"
            " the others and at most the queued_jobs behind the holds go by themselves. est_cost"
            " is of all of them."
        )
    return ActionPreview(effect, seen, details)


async def _opened_by_filter(call: ToolCall, wanted: Doc) -> OpenedGates:
    """What may go when a release opens the holds that its filter covers.

    The API does not name them, so these are all that parked jobs where the filter looks.
    """
    holds: Sequence[Doc] = (await call.api.get("holds")).doc["items"]
    opened: list[Doc] = []
    for hold in holds:
        where = {**scope_filter(hold["scope"]), "code": hold["code"]}
        if (
            hold["phase"] == "closed"
            and hold["code"] != MANUAL
            and hold["jobs"] != 0
            and all(wanted.get(name) in (None, value) for name, value in where.items())
        ):
            opened.append(hold)
    return await opened_gates(call, opened, holds)


async def _act_bulk(action: JobAction, call: ToolCall, arguments: Doc, seen: Doc) -> Doc:
    """Act on the jobs that the dry run named, as far as they still match the filter."""
    wanted: Doc = dict(arguments["filter"])
    if not seen.get("holds_released"):
        wanted = {name: value for name, value in wanted.items() if name != "all"}
        wanted["ids"] = seen["ids"]
    body = {**_bulk_body(arguments, wanted), "limit": seen["jobs"], "note": _note(arguments)}
    doc = (await call.api.post("bulk", action.value, body=body)).doc
    counts, rest = split(doc, untrusted.COUNTS)
    rest.pop("dry_run", None)
    return {"done": counts, UNTRUSTED: rest}


def _bulk_body(arguments: Doc, wanted: Any) -> Doc:
    names = ("limit", "patch_inputs")
    given = {name: arguments[name] for name in names if arguments.get(name) is not None}
    return {"filter": wanted, **given}


# An uncertain job.


async def _preview_resolve(call: ToolCall, arguments: Doc) -> ActionPreview:
    wanted = checked(arguments, ResolveArguments)
    if (wanted.execution_id is None) == (wanted.outcome is None):
        raise BadArgument("outcome: give one of execution_id and outcome")
    job = (await call.api.get("jobs", wanted.id)).doc
    reason: Doc = job["reason"] or {}
    code: str | None = reason.get("code")
    if job["state"] != "parked" or code != "uncertain":
        raise BadArgument(
            f"id: {wanted.id} is {job['state']}{f' ({code})' if code else ''}, and only a job that"
            " is parked as uncertain can be resolved"
        )
    est_cost = 0.0
    action = JobAction.ATTACH if wanted.outcome is None else JobAction(wanted.outcome)
    if action is JobAction.RESUBMIT:
        dry = {"filter": {"ids": [wanted.id]}, "dry_run": True}
        est_cost = (await call.api.post("bulk", action.value, body=dry)).doc["est_cost"]
    seen = {
        "jobs": 1,
        "est_cost": est_cost,
        "ids": [job["id"]],
        "attempt": job["attempt"],
        "finding": job["finding"],
    }
    return ActionPreview(f"{ACTION_TABLE[action].effect}.", seen, {})


async def _act_resolve(call: ToolCall, arguments: Doc, seen: Doc) -> Doc:
    del seen
    names = ("execution_id", "outcome")
    given = {name: arguments[name] for name in names if arguments.get(name) is not None}
    body = {**given, "note": _note(arguments)}
    job = (await call.api.post("jobs", arguments["id"], "resolve", body=body)).doc
    return shown_job(job)


# Holds.


async def _preview_set_hold(call: ToolCall, arguments: Doc) -> ActionPreview:
    scope: str = arguments["scope"]
    try:
        parse_scope(scope)
    except ValueError:
        expected = SetHoldArguments.model_fields["scope"].description
        raise BadArgument(f"scope: must be {expected}") from None
    holds: Sequence[Doc] = (await call.api.get("holds")).doc["items"]
    if any(one["scope"] == scope and one["code"] == MANUAL for one in holds):
        raise BadArgument(f"scope: {scope} is paused already")
    lanes: Sequence[Doc] = (await call.api.get("stats")).doc["lanes"]
    queued = sum(one["queued"] for one in lanes if f"{one['lane']}/".startswith(f"{scope}/"))
    effect = f"{ACTION_TABLE[HoldAction.SET_HOLD].effect}."
    # Jobs come and go in a lane; what is confirmed is that its gate closes.
    return ActionPreview(effect, {"scope": scope}, {"queued_jobs": queued})


async def _act_set_hold(call: ToolCall, arguments: Doc, seen: Doc) -> Doc:
    del seen
    body = {"scope": arguments["scope"], "note": _note(arguments)}
    return {"hold": marked((await call.api.post("holds", body=body)).doc, untrusted.HOLD)}


async def _preview_release_hold(call: ToolCall, arguments: Doc) -> ActionPreview:
    holds: Sequence[Doc] = (await call.api.get("holds")).doc["items"]
    found = next((one for one in holds if one["id"] == arguments["id"]), None)
    if found is None:
        raise BadArgument("id: there is no such hold: list_holds names those that there are")
    gates = OpenedGates(0, 0.0, True)  # one that is opening lets jobs go already
    if found["phase"] == "closed":
        gates = await opened_gates(call, [found], holds)
    parked: int | None = found["jobs"]
    seen = {
        "jobs": None if parked is None else parked + gates.queued_jobs,
        "est_cost": total_cost([await _cost_of_parked(call, found), gates.est_cost]),
        "scope": found["scope"],
        "code": found["code"],
        "phase": found["phase"],
    }
    details = {
        "parked_jobs": parked,
        "queued_jobs": gates.queued_jobs,
        "action": found["action"],
    }
    return ActionPreview(_release_effect(found, gates), seen, details)


async def _cost_of_parked(call: ToolCall, hold: Doc) -> float | None:
    """The credits of the jobs that a hold parked. Of jobs that are parked alike, all are counted.

    A dry run of a release would leave out those of a hold that it does not open.
    """
    if hold["jobs"] == 0:
        return 0.0
    wanted = {"state": "parked", "code": hold["code"], **scope_filter(hold["scope"])}
    dry = {"filter": wanted, "dry_run": True}
    doc = (await call.api.post("bulk", "discard", body=dry)).doc
    cost: float | None = doc["est_cost"]
    return cost if doc["done"] else None


def _release_effect(hold: Doc, gates: OpenedGates) -> str:
    effect = f"{ACTION_TABLE[HoldAction.RELEASE_HOLD].effect}."
    if hold["phase"] != "closed":
        return f"{effect} It is opening already: what is queued goes by itself."
    if hold["code"] == MANUAL:
        effect += " It is a pause: all queued_jobs can be sent at once, with no canary."
    else:
        effect += (
            " If the canary is accepted, the others of parked_jobs and queued_jobs go by"
            " themselves, 2, 4, 8 … at a time; if it is refused, the hold closes again."
        )
    effect += " Jobs that another closed hold keeps are not counted."
    if not gates.is_complete:
        effect += " There are too many lanes to count them all: there may be more queued_jobs."
    return effect


async def _act_release_hold(call: ToolCall, arguments: Doc, seen: Doc) -> Doc:
    del seen
    body = {"note": _note(arguments)}
    doc = (await call.api.post("holds", arguments["id"], "release", body=body)).doc
    return {"released": doc["released"], "hold": marked(doc["hold"], untrusted.HOLD)}


def _bulk(tool: str, action: JobAction) -> ConfirmedAction:
    model = RequeueArguments if action is JobAction.REQUEUE else BulkArguments
    return ConfirmedAction(tool, model, partial(_preview_bulk, action), partial(_act_bulk, action))


release_jobs: Final = _bulk("release_jobs", JobAction.RELEASE)
requeue_jobs: Final = _bulk("requeue_jobs", JobAction.REQUEUE)
discard_jobs: Final = _bulk("discard_jobs", JobAction.DISCARD)
cancel_jobs: Final = _bulk("cancel_jobs", JobAction.CANCEL)
resolve_job: Final = ConfirmedAction(
    "resolve_job", ResolveArguments, _preview_resolve, _act_resolve
)
set_hold: Final = ConfirmedAction("set_hold", SetHoldArguments, _preview_set_hold, _act_set_hold)
release_hold: Final = ConfirmedAction(
    "release_hold", ReleaseHoldArguments, _preview_release_hold, _act_release_hold
)
