"""The road of a job as a person reads it: stretches of time, attempts, and the acts of people.

The stretches come from replaying its events through the table of moves; where the record has
dropped its oldest events the road begins with what is left.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobs.job import Attempt, Event, Job
from jobs.lifecycle import MOVES_OF_PEOPLE, TABLE, Move
from jobs.states import SETTLED, State
from worker.dashboard.views.formatting import span, words

WIDTH: Final = 1_000
HEIGHT: Final = 34
LEAST: Final = 8.0
"""Width of the shortest stretch, so that each can be seen."""

AT_ONCE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in one state."""

    state: State
    began: float
    ended: float
    goes_on: bool

    @property
    def took(self) -> str:
        """How long."""
        return span(self.ended - self.began)


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch drawn: from where, how wide."""

    stretch: Stretch
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the road: an event, or an attempt with all that is known of it."""

    at: float
    event: Event | None = None
    attempt: Attempt | None = None
    state: State | None = None
    """The state it led to."""
    lasted: str = ""
    """How long that state lasted, or lasts."""

    @property
    def told(self) -> str:
        """What happened, in words."""
        name = self.event.name if self.event is not None else ""
        return _TOLD.get(name, words(name))

    @property
    def is_human(self) -> bool:
        """Whether a person did it."""
        return self.event is not None and self.event.name in _HUMAN


_HUMAN: Final = frozenset({*MOVES_OF_PEOPLE, Move.CANCEL})
_TOLD: Final = {
    "enqueue": "Enqueued",
    "come_due": "Its time came",
    "admit": "Admitted: it is its turn",
    "give_back": "Back in line, nothing spent",
    "accept": "Accepted by the provider",
    "succeed": "Succeeded",
    "retry": "Failed, to be retried",
    "bury": "Became a dead letter",
    "hold": "Parked",
    "ask_cancel": "Cancel asked",
    "cancel_sent": "Cancel passed on to the provider",
    "cancel": "Cancelled",
    "park": "Parked by a person",
    "release": "Released",
    "keep_watching": "Watched on",
    "attach": "Execution attached",
    "resubmit": "Resubmitted",
    "requeue": "Requeued",
    "discard": "Discarded",
}
"""What the events of a record say to a person; others are shown by their names."""

_HIDDEN: Final = frozenset({Move.SEND.value, Move.OPEN.value})
"""Events that are the beginning of an attempt, which stands on a line of its own."""


def stretches(job: Job, now: float) -> list[Stretch]:
    """The times a job spent in its states, in order."""
    marks = list(_marks(job))
    if not marks:
        marks = [(job.since, job.state)]
    merged: list[tuple[float, State]] = []
    for at, state in marks:
        if not merged or merged[-1][1] is not state:
            merged.append((at, state))
    if merged[-1][1] is not job.state:
        merged.append((max(job.since, merged[-1][0]), job.state))
    found: list[Stretch] = []
    for number, (at, state) in enumerate(merged):
        is_last = number == len(merged) - 1
        if is_last and state in SETTLED:
            found.append(Stretch(state, at, at, goes_on=False))
            continue
        end = max(at, now) if is_last else merged[number + 1][0]
        found.append(Stretch(state, at, max(at, end), goes_on=is_last))
    return found


def _marks(job: Job) -> Iterator[tuple[float, State]]:
    """When the job came into which state, as far as its events tell."""
    state: State | None = None
    if not job.events_dropped:
        state = State.SCHEDULED if job.scheduled_for is not None else State.QUEUED
        yield job.created_at, state
    for event in job.events:
        led_to = _led_to(state, event.name)
        if led_to is not None:
            state = led_to
            yield event.at, state


def _led_to(state: State | None, name: str) -> State | None:
    try:
        move = Move(name)
    except ValueError:
        return None
    if state is not None and (state, move) in TABLE:
        return TABLE[state, move]
    ends = {after for (_, known), after in TABLE.items() if known is move}
    return ends.pop() if len(ends) == 1 else None


def bars(found: list[Stretch]) -> list[Bar]:
    """The stretches side by side, their widths by the logarithm of their lengths.

    To scale, a night in line would leave nothing to see of the minute that the run took.
    """
    weights = [math.log2(1 + (one.ended - one.began) / AT_ONCE_S) for one in found]
    room = WIDTH - LEAST * len(found)
    total = sum(weights) or 1.0
    drawn: list[Bar] = []
    x = 0.0
    for one, weight in zip(found, weights, strict=True):
        width = LEAST + max(0.0, room) * weight / total
        drawn.append(Bar(one, round(x, 1), round(width, 1)))
        x += width
    return drawn


def steps(job: Job, found: list[Stretch]) -> list[Step]:
    """Every line of the road, oldest first."""
    began = {one.began: one for one in found}
    lines = [
        Step(
            event.at,
            event=event,
            state=began[event.at].state if event.at in began else None,
            lasted=began[event.at].took if event.at in began else "",
        )
        for event in job.events
        if event.name not in _HIDDEN
    ]
    lines += [Step(attempt.started_at, attempt=attempt) for attempt in job.attempts]
    return sorted(lines, key=lambda line: (line.at, line.attempt is not None))
