"""Stand-ins for records that a newer version wrote: they are shown, and nobody writes them.

A newer hold or breaker stops its scope, since what it allows is not known; but not a breaker that
can be read to be closed.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from jobs.breakers import Breaker, BreakerCause, BreakerError, BreakerState
from jobs.holds import Hold, hold_id
from jobs.job import Job, Reason
from jobs.lanes import JobId, Scope
from jobs.states import Kind, State

T = TypeVar("T")

NEWER_SCHEMA: Final = "newer_schema"
"""Reason code, hold code and error code of what a newer version wrote."""

ACTION_NEWER: Final = (
    "Start workers and API processes of the version that wrote it, or update these; until then it "
    "is left as it is"
)


def newer_job(job_id: str, members: Mapping[str, Any], why: str, at: float) -> Job:
    """A job with what can be read of its record, and `why` as the message of its reason.

    `at`: its times (Unix seconds), where the record has none that can be read.
    """
    since = _read(members, "since", float, at)
    batch = _read(members, "batch", str, "")
    return Job(
        id=JobId(job_id),
        kind=_read(members, "kind", Kind, Kind.MODEL),
        target=_read(members, "target", str, "unknown"),
        account=_read(members, "account", str, "default"),
        state=_read(members, "state", State, State.PARKED),
        since=since,
        created_at=_read(members, "created_at", float, since),
        updated_at=_read(members, "updated_at", float, since),
        fingerprint="",
        priority=_read(members, "priority", int, 0),
        tags=_read(members, "tags", tuple[str, ...], ()),
        batch=batch or None,
        reason=Reason(code=NEWER_SCHEMA, message=why, action=ACTION_NEWER),
    )


def is_newer(job: Job) -> bool:
    """Whether a job stands for a record of a newer version."""
    return job.reason is not None and job.reason.code == NEWER_SCHEMA


def is_newer_gate(gate: Hold | Breaker) -> bool:
    """Whether a hold or breaker stands for a record of a newer version."""
    if isinstance(gate, Hold):
        return gate.action == ACTION_NEWER
    return gate.error is not None and gate.error.code == NEWER_SCHEMA


def newer_hold(key: str, why: str) -> Hold:
    """A closed hold in place of the newer one under a key, `scope|code`."""
    scope, _, code = key.partition("|")
    return Hold(
        id=hold_id(Scope(scope), code),
        scope=Scope(scope),
        code=code,
        created_at=0.0,
        message=why,
        action=ACTION_NEWER,
    )


def newer_breaker(key: str, epoch: int, why: str, members: Mapping[str, Any]) -> Breaker | None:
    """A breaker in place of the newer one under a key; None for a cause that is not known.

    Closed where its record says so, and else open, without a next probe: workers of its version
    probe it.
    """
    scope, _, cause = key.partition("|")
    if cause not in tuple(BreakerCause):
        return None
    is_known = (members.get("scope"), members.get("cause")) == (scope, cause)
    # A closed breaker is written without its state.
    is_closed = is_known and members.get("state", BreakerState.CLOSED) == BreakerState.CLOSED
    return Breaker(
        scope=Scope(scope),
        cause=BreakerCause(cause),
        state=BreakerState.CLOSED if is_closed else BreakerState.OPEN,
        epoch=epoch,
        error=BreakerError(NEWER_SCHEMA, message=why),
    )


def _read(members: Mapping[str, Any], name: str, value_type: type[T], default: T) -> T:
    """A member of a record; `default` where it is missing or has another type."""
    try:
        return msgspec.convert(members[name], value_type)
    except (KeyError, msgspec.ValidationError):
        return default
