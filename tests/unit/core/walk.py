"""Every legal step a job can take next, as the program takes it: for walks at random.

The provider's words go through `jobs.decide`, so a walk meets what a job meets.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from jobs import transitions
from jobs.decide import decide_poll, decide_submit
from jobs.effects import Decision, Looks, Moment, Rules
from jobs.job import Job
from jobs.outcomes import (
    Accepted,
    Fault,
    Finished,
    Lost,
    Missing,
    NoLook,
    NotSent,
    PollAnswer,
    Refused,
    RunCancelled,
    RunFailed,
    StillRunning,
    SubmitAnswer,
)
from jobs.states import State

LEASE_S: Final = 30.0
STEP_S: Final = 1.5
"""How far the clock goes with every step."""


class Step(NamedTuple):
    """One way on: its name, whether a person takes it, and the job's next version."""

    name: str
    by_a_person: bool
    take: Callable[[], Job]


FAULTS: Final = (
    Fault("EXECUTION_FAILED", "", 500),
    Fault("INSUFFICIENT_CREDITS", "", 402),
    Fault("grant_exhausted", "", 402),
    Fault("INVALID_INPUTS", "", 400),
    Fault(None, "", 502),
    Fault(None, "", 503),
    Fault("NEW_CODE", "", 403),
)
ON_SUBMIT: Final[tuple[SubmitAnswer, ...]] = (
    Accepted("ex"),
    Finished(b"{}", 1.0),
    NotSent("refused"),
    Lost("lost"),
    Refused(Fault(None, "", 429)),
    Refused(Fault("ASYNC_NOT_SUPPORTED", "", 400)),
    *(Refused(fault) for fault in FAULTS),
)
ON_POLL: Final[tuple[PollAnswer, ...]] = (
    Finished(b"{}", 1.0),
    RunCancelled(),
    RunCancelled(b"{}"),
    Lost("no result"),
    Missing(Fault(None, "", 404)),
    NoLook("no way"),
    StillRunning("processing"),
    *(RunFailed(fault) for fault in FAULTS),
)


def steps(job: Job, now: float) -> list[Step]:
    """The ways on that are open to a job; none of them raises."""
    return [*_of_the_program(job, now), *_of_people(job, now)]


def walked(job: Job, choices: list[int], now: float) -> list[tuple[Job, Step, Job]]:
    """A walk: each choice takes one of the steps that are open; the job before and after each."""
    walk: list[tuple[Job, Step, Job]] = []
    for choice in choices:
        now += STEP_S
        ways = steps(job, now)
        if not ways:
            break
        step = ways[choice % len(ways)]
        walk.append((job, step, step.take()))
        job = walk[-1][2]
    return walk


def _of_the_program(job: Job, now: float) -> list[Step]:
    match job.state:
        case State.SCHEDULED | State.RETRYING:
            return [Step("come_due", False, lambda: transitions.come_due(job, now))]
        case State.QUEUED:
            return [*(_admission(job, now, gates) for gates in ((), ("gate-1",)))]
        case State.SUBMITTING if job.sent_at is None:
            return [
                Step("send", False, lambda: _send(job, now)),
                Step("open", False, lambda: _open(job, now)),
                Step(
                    "give_back", False, lambda: transitions.give_back(job, now, why="gate closed")
                ),
            ]
        case State.SUBMITTING:
            return _answers(job, ON_SUBMIT, now)
        case State.RUNNING | State.CANCELLING if job.execution_id is None:
            return _answers(job, ON_SUBMIT, now)
        case State.RUNNING | State.CANCELLING:
            return _looks(job, now)
        case State.PARKED if job.parked_as == transitions.STUCK:
            return _looks(job, now)
        case State.PARKED if job.parked_as == transitions.UNCERTAIN:
            return _answers(job, ON_SUBMIT[:2], now)
        case State.PARKED | State.DEAD | State.SUCCEEDED | State.CANCELLED:
            return []


def _admission(job: Job, now: float, gates: tuple[str, ...]) -> Step:
    lease_until = now + LEASE_S
    return Step(
        "admit",
        False,
        lambda: transitions.admit(job, now, hop=f"h{now:g}", lease_until=lease_until, gates=gates),
    )


def _send(job: Job, now: float) -> Job:
    return transitions.send(job, now, owner="w1", lease_until=now + LEASE_S)


def _open(job: Job, now: float) -> Job:
    return transitions.open_connection(job, now, owner="w1", lease_until=now + LEASE_S)


def _moment(now: float) -> Moment:
    return Moment(now, 0.5, Rules(missing_limit=1))


def _answers(job: Job, answers: tuple[SubmitAnswer, ...], now: float) -> list[Step]:
    def answered(answer: SubmitAnswer) -> Job:
        decision = decide_submit(job, answer, _moment(now))
        return _open(decision.job, now) if decision.submit_sync else decision.job

    return [Step(f"{answer}", False, partial(answered, answer)) for answer in answers]


def _looks(job: Job, now: float) -> list[Step]:
    def looked(answer: PollAnswer, at: float) -> Job:
        outcome = decide_poll(job, answer, Looks(), _moment(at))
        return outcome.job if isinstance(outcome, Decision) else job

    overdue = (job.deadline_at or now) + 1
    return [
        *(Step(f"{answer}", False, partial(looked, answer, now)) for answer in ON_POLL),
        Step("overdue", False, lambda: looked(StillRunning("processing"), max(now, overdue))),
    ]


def _of_people(job: Job, now: float) -> list[Step]:
    """The acts that the table lets people do, by the names of the road."""
    return [Step(name, True, take) for name, take in _acts(job, now).items()]


Acts = dict[str, Callable[[], Job]]


def _acts(job: Job, now: float) -> Acts:
    cancel: Acts = {"cancel": lambda: transitions.cancel(job, now, by="ann")}
    ask: Acts = {"ask_cancel": lambda: transitions.ask_cancel(job, now, by="ann")}
    match job.state:
        case State.QUEUED | State.SCHEDULED | State.RETRYING:
            return cancel | {"park": lambda: transitions.park(job, now, by="ann")}
        case State.SUBMITTING if job.sent_at is None:
            return cancel | ask
        case State.SUBMITTING | State.RUNNING:
            return ask
        case State.CANCELLING if job.execution_id is not None and not job.cancel_sent:
            return {"cancel_sent": lambda: transitions.note_cancel_sent(job, now)}
        case State.PARKED:
            return _acts_on_the_parked(job, now, cancel, ask)
        case State.DEAD:
            return _discard(job, now) | {"requeue": lambda: transitions.requeue(job, now, by="ann")}
        case State.CANCELLING | State.SUCCEEDED | State.CANCELLED:
            return {}


def _acts_on_the_parked(job: Job, now: float, cancel: Acts, ask: Acts) -> Acts:
    release: Acts = {"release": lambda: transitions.release(job, now, by="ann")}
    resolve: Acts = {
        "resubmit": lambda: transitions.resubmit(job, now, by="ann"),
        "attach": lambda: transitions.attach(job, now, "ex-found", by="ann"),
    }
    passing: Acts = {"pass": lambda: transitions.release(job, now, by="ann", free_pass=True)}
    match job.parked_as:
        case transitions.STUCK:
            return release | resolve | ask | _discard(job, now)
        case transitions.UNCERTAIN:
            return resolve | cancel | _discard(job, now)
        case _:
            return release | passing | cancel | _discard(job, now)


def _discard(job: Job, now: float) -> Acts:
    return {"discard": lambda: transitions.discard(job, now, by="ann")}
