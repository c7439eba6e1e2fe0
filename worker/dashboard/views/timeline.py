"""The road of a job as a person reads it: stretches of time, attempts, and the acts of people.

The stretches come from replaying its events through the table of moves; where the record has
dropped its oldest events the road begins with what is left.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobs.job import Attempt, Job, JobEvent
from jobs.lifecycle import OPERATOR_TRANSITIONS, TRANSITIONS, Transition
from jobs.states import SETTLED, State
from worker.dashboard.views.formatting import duration_text, label_text

WIDTH: Final = 1_000
HEIGHT: Final = 34
MIN_BAR_WIDTH: Final = 8.0
"""Width of the shortest stretch, so that each can be seen."""

LOG_SCALE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class StateInterval:
    """A time in one state."""

    state: State
    started_at: float
    ended_at: float
    is_ongoing: bool

    @property
    def duration(self) -> str:
        """How long."""
        return duration_text(self.ended_at - self.started_at)


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """A stretch drawn: from where, how wide."""

    interval: StateInterval
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the road: an event, or an attempt with all that is known of it."""

    at: float
    event: JobEvent | None = None
    attempt: Attempt | None = None
    state: State | None = None
    """The state it led to."""
    state_duration: str = ""
    """How long that state lasted, or lasts."""

    @property
    def label(self) -> str:
        """What happened, in words."""
        name = self.event.name if self.event is not None else ""
        return _EVENT_LABELS.get(name, label_text(name))

    @property
    def is_by_operator(self) -> bool:
        """Whether a person did it."""
        return self.event is not None and self.event.name in _OPERATOR_TRANSITIONS


_OPERATOR_TRANSITIONS: Final = frozenset({*OPERATOR_TRANSITIONS, Transition.CANCEL})
_EVENT_LABELS: Final = {
    "enqueue": "Enqueued",
    "promote": "Its time came",
    "admit": "Admitted: it is its turn",
    "return_to_queue": "Back in line, nothing spent",
    "accept": "Accepted by the provider",
    "succeed": "Succeeded",
    "retry": "Failed, to be retried",
    "dead_letter": "Became a dead letter",
    "park_refused": "Parked: refused by the provider",
    "park_uncertain": "Parked: outcome unknown",
    "park_stuck": "Parked: still running past its deadline",
    "park_failed_run": "Parked: the stuck run failed",
    "request_cancel": "Cancel asked",
    "cancel_sent": "Cancel passed on to the provider",
    "cancel": "Cancelled",
    "park_manual": "Parked by an operator",
    "release": "Released",
    "extend_deadline": "Watched on",
    "attach": "Execution attached",
    "resubmit": "Resubmitted",
    "requeue": "Requeued",
    "discard": "Discarded",
}
"""What the events of a record say to a person; others are shown by their names."""

_HIDDEN_EVENTS: Final = frozenset({Transition.SEND.value, Transition.OPEN.value})
"""Events that are the beginning of an attempt, which stands on a line of its own."""


def state_intervals(job: Job, now: float) -> list[StateInterval]:
    """The times a job spent in its states, in order."""
    marks = list(_state_changes(job))
    if not marks:
        marks = [(job.since, job.state)]
    merged: list[tuple[float, State]] = []
    for at, state in marks:
        if not merged or merged[-1][1] is not state:
            merged.append((at, state))
    if merged[-1][1] is not job.state:
        merged.append((max(job.since, merged[-1][0]), job.state))
    found: list[StateInterval] = []
    for number, (at, state) in enumerate(merged):
        is_last = number == len(merged) - 1
        if is_last and state in SETTLED:
            found.append(StateInterval(state, at, at, is_ongoing=False))
            continue
        end = max(at, now) if is_last else merged[number + 1][0]
        found.append(StateInterval(state, at, max(at, end), is_ongoing=is_last))
    return found


def _state_changes(job: Job) -> Iterator[tuple[float, State]]:
    """When the job came into which state, as far as its events tell."""
    state: State | None = None
    if not job.events_dropped:
        state = State.SCHEDULED if job.scheduled_for is not None else State.QUEUED
        yield job.created_at, state
    for event in job.events:
        led_to = _state_after(state, event.name)
        if led_to is not None:
            state = led_to
            yield event.at, state


def _state_after(state: State | None, name: str) -> State | None:
    try:
        move = Transition(name)
    except ValueError:
        return None
    if state is not None and (state, move) in TRANSITIONS:
        return TRANSITIONS[state, move]
    ends = {after for (_, known), after in TRANSITIONS.items() if known is move}
    return ends.pop() if len(ends) == 1 else None


def timeline_bars(intervals: list[StateInterval]) -> list[TimelineBar]:
    """The stretches side by side, their widths by the logarithm of their lengths.

    To scale, a night in line would leave nothing to see of the minute that the run took.
    """
    weights = [math.log2(1 + (one.ended_at - one.started_at) / LOG_SCALE_S) for one in intervals]
    room = WIDTH - MIN_BAR_WIDTH * len(intervals)
    total = sum(weights) or 1.0
    drawn: list[TimelineBar] = []
    x = 0.0
    for one, weight in zip(intervals, weights, strict=True):
        width = MIN_BAR_WIDTH + max(0.0, room) * weight / total
        drawn.append(TimelineBar(one, round(x, 1), round(width, 1)))
        x += width
    return drawn


def timeline_entries(job: Job, intervals: list[StateInterval]) -> list[TimelineEntry]:
    """Every line of the road, oldest first."""
    began = {one.started_at: one for one in intervals}
    lines = [
        TimelineEntry(
            event.at,
            event=event,
            state=began[event.at].state if event.at in began else None,
            state_duration=began[event.at].duration if event.at in began else "",
        )
        for event in job.events
        if event.name not in _HIDDEN_EVENTS
    ]
    lines += [TimelineEntry(attempt.started_at, attempt=attempt) for attempt in job.attempts]
    return sorted(lines, key=lambda line: (line.at, line.attempt is not None))
