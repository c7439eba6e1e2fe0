"""The next command to type about a job, a group or a hold."""

from typing import Final

from worker.cli.text import Doc, command_line, sanitize

UNCERTAIN: Final = "uncertain"
NEWER_SCHEMA: Final = "newer_schema"
SCOPE_PARTS: Final = ("account", "kind", "target")
"""The parts of a scope, widest first."""

_FIX_INPUTS: Final = frozenset({"INVALID_INPUTS", "INVALID_BODY"})
_FIX_TARGET: Final = frozenset({"INVALID_SLUG", "MODEL_NOT_FOUND", "HTTP_404"})


def split_scope(scope: str) -> dict[str, str]:
    """The parts of a scope by name.

    >>> split_scope("default/model")
    {'account': 'default', 'kind': 'model'}
    """
    return dict(zip(SCOPE_PARTS, scope.split("/"), strict=False))


def hold_of(group: Doc, holds: list[Doc]) -> Doc | None:
    """The hold that parked a group: one with its code that closes its lane; None for no hold."""
    for hold in holds:
        scope = split_scope(str(hold["scope"]))
        is_on_lane = all(group.get(part) == name for part, name in scope.items())
        if is_on_lane and hold.get("code") == group.get("code"):
            return hold
    return None


def release_hold_command(hold: Doc) -> str:
    """The command that releases a hold and what it parked.

    By its id: a hold can have parked no job (a redirect, a page, polls that are refused), so that a
    filter by its code matches none.
    """
    return sanitize(command_line("holds", "release", str(hold["id"])))


def group_command(group: Doc, state: str, hold: Doc | None = None) -> str | None:
    """The command that releases a group of parked jobs, or requeues a group of dead letters.

    None where a newer version wrote them: it would match none.
    """
    if group.get("newer"):
        return None
    code = str(group.get("code"))
    lane = {part: str(group.get(part)) for part in SCOPE_PARTS}
    if state == "dead":
        return _filter_command("dead requeue", code, lane)
    if code == UNCERTAIN and group.get("findings", {}).get("not_started"):
        words = [word for part, name in lane.items() for word in (f"--{part}", name)]
        resolve = ("parked", "resolve", "--finding", "not_started", "--resubmit")
        return sanitize(command_line(*resolve, *words))
    if code == UNCERTAIN:
        cause = {"cause": str(group["cause"])} if group.get("cause") else {}
        return _filter_command("parked ls", code, {**cause, **lane})
    if hold is not None:
        return release_hold_command(hold)
    return _filter_command("parked release", code, lane)


def job_commands(job: Doc) -> list[str]:
    """The commands for a parked job or a dead letter, the likeliest first; none for other jobs."""
    name = str(job["id"])
    reason: Doc = job.get("reason") or {}
    code = str(reason.get("code"))
    match job.get("state"), code:
        case _, code if code == NEWER_SCHEMA:
            return []
        case "dead", code if code in _FIX_INPUTS:
            return [
                command_line("dead", "requeue", name, "--inputs", "@inputs.json"),
                command_line("dead", "discard", name),
            ]
        case "dead", code if code in _FIX_TARGET:
            return [command_line("dead", "discard", name)]
        case "dead", _:
            return [command_line("dead", "requeue", name), command_line("dead", "discard", name)]
        case "parked", "uncertain":
            resolve = command_line("parked", "resolve", name)
            return [
                f"{resolve} --execution-id ID",
                f"{resolve} --resubmit",
                f"{resolve} --discard",
            ]
        case "parked", "stuck":
            return [command_line("parked", "release", name), command_line("jobs", "cancel", name)]
        case "parked", _ if reason.get("hold_id"):
            return [command_line("holds", "release", sanitize(reason["hold_id"]))]
        case "parked", _:
            return [command_line("parked", "release", name)]
        case _:
            return []


def _filter_command(verb: str, code: str, parts: dict[str, str]) -> str:
    words = [word for part, name in parts.items() for word in (f"--{part}", name)]
    return sanitize(command_line(*verb.split(), "--code", code, *words))
