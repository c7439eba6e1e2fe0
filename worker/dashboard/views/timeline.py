"""The timeline of a job: the time in each state, its attempts, its events and operator actions.

The states come from replaying the events through the lifecycle table. If the oldest events are no
longer stored, the timeline begins with the first one that is.
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
"""Width of the shortest bar, so that every state is visible."""

LOG_SCALE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class StateInterval:
    """A period in one state; times are Unix seconds."""

    state: State
    started_at: float
    ended_at: float
    is_ongoing: bool

    @property
    def duration(self) -> str:
        """Its length as text."""
        return duration_text(self.ended_at - self.started_at)


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """The bar of an interval: its SVG position and width."""

    interval: StateInterval
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of the timeline: an event or an attempt."""

    at: float
    event: JobEvent | None = None
    attempt: Attempt | None = None
    state: State | None = None
    """The state that the event led to."""
    state_duration: str = ""
    """The time in that state so far, or until it ended."""

    @property
    def label(self) -> str:
        """What happened, in words."""
        name = self.event.name if self.event is not None else ""
        return _EVENT_LABELS.get(name, label_text(name))

    @property
    def is_by_operator(self) -> bool:
        """Whether an operator did it."""
        return self.event is not None and self.event.name in _OPERATOR_TRANSITIONS


_OPERATOR_TRANSITIONS: Final = frozenset({*OPERATOR_TRANSITIONS, Transition.CANCEL})
_EVENT_LABELS: Final = {
    "enqueue": "Enqueued",
    "promote": "Due",
    "admit": "Admitted",
    "return_to_queue": "Returned to queue, no attempt used",
    "accept": "Accepted by the provider",
    "succeed": "Succeeded",
    "retry": "Failed, will retry",
    "dead_letter": "Dead-lettered",
    "reschedule": "Given another time by an operator",
    "edited": "Edited by an operator",
    "expire": "Not sent by its start_by, so it is cancelled",
    "park_refused": "Parked: refused by the provider",
    "park_uncertain": "Parked: outcome unknown",
    "await_finding": "Outcome unknown, waits for a finding",
    "finding": "Found in the provider's list of runs",
    "resubmit_not_started": "Did not start, so it is submitted again",
    "late_answer": "An earlier submit was answered late",
    "park_stuck": "Parked: still running past its deadline",
    "park_failed_run": "Parked: the stuck run failed",
    "request_cancel": "Cancel requested",
    "cancel_sent": "Cancel sent to the provider",
    "cancel": "Cancelled",
    "park_manual": "Parked by an operator",
    "release": "Released",
    "extend_deadline": "Deadline extended",
    "find_run": "Run found again",
    "new_status": "Status of the run that this version does not know",
    "other_run": "An answer named another run and was ignored",
    "attach": "Execution attached",
    "resubmit": "Resubmitted",
    "requeue": "Requeued",
    "discard": "Discarded",
    "payloads_erased": "Inputs and result erased",
}
"""Labels by event name; other events are shown by their names."""

_HIDDEN_EVENTS: Final = frozenset({Transition.SEND.value, Transition.OPEN.value})
"""Events that begin an attempt: the attempt has an entry of its own."""


def state_intervals(job: Job, now: float) -> list[StateInterval]:
    """The periods that a job spent in its states, oldest first."""
    changes = list(_state_changes(job)) or [(job.since, job.state)]
    merged: list[tuple[float, State]] = []
    for at, state in changes:
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
    """Each (time, state) that the stored events show."""
    state: State | None = None
    if not job.events_dropped:
        state = State.SCHEDULED if job.scheduled_for is not None else State.QUEUED
        state = State.WAITING if job.after else state
        yield job.created_at, state
    for event in job.events:
        after = _state_after(state, event.name)
        if after is not None:
            state = after
            yield event.at, state


def _state_after(state: State | None, name: str) -> State | None:
    try:
        transition = Transition(name)
    except ValueError:
        return None
    if state is not None and (state, transition) in TRANSITIONS:
        return TRANSITIONS[state, transition]
    afters = {after for (_, known), after in TRANSITIONS.items() if known is transition}
    return afters.pop() if len(afters) == 1 else None


def timeline_bars(intervals: list[StateInterval]) -> list[TimelineBar]:
    """One bar per interval, side by side; the width grows with the logarithm of the duration.

    On a linear scale, a night in the queue would hide a run of one minute.
    """
    weights = [math.log2(1 + (one.ended_at - one.started_at) / LOG_SCALE_S) for one in intervals]
    free_width = WIDTH - MIN_BAR_WIDTH * len(intervals)
    total = sum(weights) or 1.0
    drawn: list[TimelineBar] = []
    x = 0.0
    for one, weight in zip(intervals, weights, strict=True):
        width = MIN_BAR_WIDTH + max(0.0, free_width) * weight / total
        drawn.append(TimelineBar(one, round(x, 1), round(width, 1)))
        x += width
    return drawn


def timeline_entries(job: Job, intervals: list[StateInterval]) -> list[TimelineEntry]:
    """Every entry of the timeline, oldest first."""
    by_start = {one.started_at: one for one in intervals}
    entries = [
        TimelineEntry(
            event.at,
            event=event,
            state=by_start[event.at].state if event.at in by_start else None,
            state_duration=by_start[event.at].duration if event.at in by_start else "",
        )
        for event in job.events
        if event.name not in _HIDDEN_EVENTS
    ]
    entries += [TimelineEntry(attempt.started_at, attempt=attempt) for attempt in job.attempts]
    return sorted(entries, key=lambda entry: (entry.at, entry.attempt is not None))
