"""Transitions that a worker causes: a job is due, admitted, sent, or returned to the queue."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from jobs.breakers import NO_BREAKERS, PassedBreakers
from jobs.budgets.reservation import Reservation
from jobs.evidence.records import SentAs
from jobs.job import ATTEMPTS_KEPT, EXPIRED, Attempt, Job, Reason
from jobs.lifecycle import IllegalTransition, Transition
from jobs.payloads import ACTIONS, WHY_NOT_SENT, MissingPayload
from jobs.start_by import is_expired
from jobs.states import Mode, State
from jobs.transitions.builders import CLEARED_RUN, next_version, queue_changes

WHY_EXPIRED: Final = "it was not sent by its start_by"
ACTION_EXPIRED: Final = "Nothing: enqueue a new job if it is still wanted"


def promote(job: Job, now: float, *, note: str = "") -> Job:
    """`scheduled` or `retrying` → `queued`: it is due.

    Raises `IllegalTransition` for a job that waits for a finding: its outcome is unknown.
    """
    if job.awaits_finding:
        raise IllegalTransition(job.state, Transition.PROMOTE, "it waits for a finding")
    changes: dict[str, Any] = queue_changes(job, now) | {"queued_at": now}
    return next_version(job, Transition.PROMOTE, now, note=note, **changes)


def admit(
    job: Job,
    now: float,
    *,
    submit_token: str,
    lease_until: float,
    opening_hold_ids: tuple[str, ...],
    mode: Mode = Mode.ASYNC,
    passed: PassedBreakers = NO_BREAKERS,
    estimate: float | None = None,
    reservations: tuple[Reservation, ...] = (),
) -> Job:
    """`queued` → `submitting`: the intent to submit, on record before a byte is sent.

    `opening_hold_ids` are the opening holds that count this submit in their step. `mode` is how it
    will be submitted, as far as is known: a job admitted as sync holds a slot of a sync run.
    `passed` are the breakers it passes, `estimate` the credits it is expected to cost, if known,
    `reservations` what it reserves of budgets.
    """
    return next_version(
        job,
        Transition.ADMIT,
        now,
        estimate=estimate,
        reservations=reservations,
        submit_token=submit_token,
        lease_until=lease_until,
        opening_hold_ids=opening_hold_ids,
        mode=mode,
        canary_of=passed.canary_of,
        probe_of=passed.probe_of,
        breaker_epochs=passed.epochs if any(passed.epochs) else (),
        **_attempt_returned(job, passed.tripped_epoch),
    )


def _attempt_returned(job: Job, tripped_epoch: int | None) -> dict[str, Any]:
    """Its last failure tripped the breaker of its lane: the attempt is given back, once."""
    outage = job.outage
    if outage is None or tripped_epoch is None or outage.failed_epoch != tripped_epoch:
        return {}
    returned = msgspec.structs.replace(outage, failed_epoch=-1)
    return {"spent": max(0, job.spent - 1), "outage": returned}


def _attempt_begun(job: Job, now: float, mode: Mode) -> dict[str, Any]:
    number = job.submits + 1
    attempt = Attempt(number=number, mode=mode, started_at=now, reservations=job.reservations)
    return {
        "reservations": (),
        "mode": mode,
        "sent_at": now,
        "submits": number,
        "attempts": (*job.attempts, attempt)[-ATTEMPTS_KEPT:],
    }


def send(
    job: Job, now: float, *, owner: str, lease_until: float, sent_as: SentAs | None = None
) -> Job:
    """`submitting`, with a new attempt: the first byte follows, so the outcome can be unknown.

    `sent_as`: where it is sent and as which user; None where the user is not known.
    Raises `IllegalTransition` if it was recorded before: a request may be under way.
    """
    if job.state is State.SUBMITTING and job.sent_at is not None:
        raise IllegalTransition(job.state, Transition.SEND, "its request may be under way")
    return next_version(
        job,
        Transition.SEND,
        now,
        by=owner,
        **_attempt_begun(job, now, Mode.ASYNC),
        sent_as=sent_as,
        owner=owner,
        lease_until=lease_until,
    )


def stop_counting(job: Job, breaker_ids: Collection[str]) -> Job:
    """The job in the same state; these breakers count its submit in their steps no more."""
    left = tuple(one for one in job.canary_of if one not in breaker_ids)
    return job if left == job.canary_of else msgspec.structs.replace(job, canary_of=left)


def open_connection(
    job: Job, now: float, *, owner: str, lease_until: float, sent_as: SentAs | None = None
) -> Job:
    """`submitting` → `running`: the first byte of a sync run follows; its connection stays open.

    After an async submit refused with `ASYNC_NOT_SUPPORTED` the attempt stays the same, now sync.
    """
    last = job.open_attempt
    if last is None:
        changes: dict[str, Any] = _attempt_begun(job, now, Mode.SYNC)
    else:
        sync_attempt = msgspec.structs.replace(last, mode=Mode.SYNC)
        changes = {
            "mode": Mode.SYNC,
            "sent_at": now,
            "attempts": (*job.attempts[:-1], sync_attempt),
        }
    return next_version(
        job,
        Transition.OPEN,
        now,
        by=owner,
        **changes,
        sent_as=sent_as,
        owner=owner,
        lease_until=lease_until,
        submitted_at=now,
    )


def return_to_queue(job: Job, now: float, *, why: str) -> Job:
    """→ `queued`: not sent, rate limited, or its gate closed. No attempt is spent."""
    if job.state is State.RUNNING and job.mode is not Mode.SYNC:
        raise IllegalTransition(job.state, Transition.RETURN_TO_QUEUE, "the provider has it")
    if (last := job.open_attempt) is not None and (last.execution_id or last.request_id):
        raise IllegalTransition(job.state, Transition.RETURN_TO_QUEUE, "its run is on record")
    changes: dict[str, Any] = queue_changes(job, now) | {"bypass_hold": job.bypass_hold}
    if job.open_attempt is not None:  # it did not reach the provider, or does not count
        changes |= {"attempts": job.attempts[:-1], "submits": job.submits - 1}
    return next_version(job, Transition.RETURN_TO_QUEUE, now, note=why, **changes)


def expire(job: Job, now: float) -> Job:
    """→ `cancelled` as `expired`: it was not sent by its `start_by`. No attempt is spent.

    Raises `IllegalTransition` for a job that may still be sent, or was.
    """
    if not is_expired(job, now):
        raise IllegalTransition(job.state, Transition.EXPIRE, "its start_by has not passed")
    reason = Reason(code=EXPIRED, message=WHY_EXPIRED, action=ACTION_EXPIRED)
    return next_version(
        job, Transition.EXPIRE, now, **CLEARED_RUN, finished_at=now, due_at=None, reason=reason
    )


def park_inputs_lost(job: Job, now: float, why: MissingPayload = MissingPayload.LOST) -> Job:
    """→ `parked` as `why`: it was not sent, and there are no inputs that could be sent.

    Raises `IllegalTransition` if a request may be under way.
    """
    if job.open_attempt is not None:
        raise IllegalTransition(
            job.state, Transition.PARK_INPUTS_LOST, "its request may be under way"
        )
    reason = Reason(code=why, message=WHY_NOT_SENT[why], action=ACTIONS[why])
    return next_version(
        job, Transition.PARK_INPUTS_LOST, now, note=why, **CLEARED_RUN, reason=reason
    )
