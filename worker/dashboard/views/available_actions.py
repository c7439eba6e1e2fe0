"""The acts that a job's state allows, each with what it will do, said beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jobs.holds import Gates
from jobs.job import Job
from jobs.states import State
from jobs.transitions import STUCK, UNCERTAIN
from jobs.unreadable import UNREADABLE
from worker.dashboard.views.formatting import credits_text, span


class Way(StrEnum):
    """What a person can do to one job."""

    RELEASE = "release"
    ATTACH = "attach"
    RESUBMIT = "resubmit"
    REQUEUE = "requeue"
    PARK = "park"
    CANCEL = "cancel"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Offer:
    """One act, and its effect."""

    way: Way
    label: str
    effect: str
    is_grave: bool = False
    """It may pay twice, or gives something up."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the effects depend on beside the job."""

    gates: Gates
    costs: Mapping[str, float]
    retention_s: float


def offers(job: Job, around: Around) -> tuple[Offer, ...]:
    """What can be done to a job now, the likeliest first."""
    match job.state:
        case State.SCHEDULED | State.QUEUED | State.RETRYING:
            return (
                Offer(Way.PARK, "Park", "Nothing is sent until a person releases it"),
                Offer(
                    Way.CANCEL, "Cancel", "Ends it at once; nothing is under way, nothing is paid"
                ),
            )
        case State.SUBMITTING | State.RUNNING:
            return (_ask_cancel(),)
        case State.PARKED:
            return _parked(job, around)
        case State.DEAD:
            return _dead(job, around)
        case State.CANCELLING | State.SUCCEEDED | State.CANCELLED:
            return ()


def _parked(job: Job, around: Around) -> tuple[Offer, ...]:
    if job.parked_as == UNCERTAIN:
        return (_attach(), _resubmit(job, around), _discard(around, "a run it may have goes on"))
    if job.parked_as == STUCK:
        longer = f"It is watched for another {span(job.deadline_s)}; nothing is sent again"
        return (
            Offer(Way.RELEASE, "Watch on", longer),
            _ask_cancel(),
            _resubmit(job, around),
            _discard(around, "its run is not cancelled"),
        )
    return (_release(job, around), _discard(around, "it is never sent"))


def _dead(job: Job, around: Around) -> tuple[Offer, ...]:
    if job.reason is not None and job.reason.code == UNREADABLE:
        return (_discard(around, "nobody can read what it was"),)
    effect = f"A new set of {job.max_attempts} attempts, its history kept; {_price(job, around)}"
    return (Offer(Way.REQUEUE, "Requeue", effect), _discard(around, "it is not sent again"))


def _release(job: Job, around: Around) -> Offer:
    gate = around.gates.closed_by(job.lane)
    if gate is None:
        return Offer(Way.RELEASE, "Release", f"Goes back in line; {_price(job, around)}")
    return Offer(
        Way.RELEASE,
        "Release this one",
        f"Sent alone through the closed gate on {gate.scope}; refused again, it parks again."
        f" The others wait on; {_price(job, around)}",
    )


def _attach() -> Offer:
    return Offer(
        Way.ATTACH,
        "Attach",
        "This execution is its run: it is polled from here on, nothing is sent or paid again",
    )


def _resubmit(job: Job, around: Around) -> Offer:
    effect = f"Sends it again: if the first run exists it is paid twice; {_price(job, around)}"
    return Offer(Way.RESUBMIT, "Resubmit", effect, is_grave=True)


def _ask_cancel() -> Offer:
    return Offer(
        Way.CANCEL,
        "Cancel",
        "Asks the provider to end its run; what has run may be charged, and it may still finish",
        is_grave=True,
    )


def _discard(around: Around, what: str) -> Offer:
    effect = f"Gives it up: {what}. It stays on record for {span(around.retention_s)}"
    return Offer(Way.DISCARD, "Discard", effect, is_grave=True)


def _price(job: Job, around: Around) -> str:
    return credits_text(around.costs.get(f"{job.kind}/{job.target}"))
