"""Which runs a record knows, so that no older or foreign version of it makes them unfindable.

The ids of a run are all that finds it again: a version that lacks one may not replace the record,
nor one that lacks a submit whose answer is still to come.
"""

from collections.abc import Iterator
from typing import Final

from jobs.job import Job
from jobs.lifecycle import Transition

SENT_EVENTS: Final = frozenset({Transition.SEND.value, Transition.OPEN.value})
"""The events of a submit: it was sent, perhaps with a connection that stays open."""


def lost_ids(found: Job, ours: Job) -> tuple[str, ...]:
    """The execution ids and request ids on record in `found` that `ours` does not have.

    Attempts that are too old for the record of `ours` do not count.
    """
    oldest = ours.attempts[0].number if ours.attempts else 1
    known = {value.casefold() for value in _ids(ours, 1)}
    return tuple(
        value for value in dict.fromkeys(_ids(found, oldest)) if value.casefold() not in known
    )


def lacks_submit(ours: Job, found: Job) -> bool:
    """Whether `found` has been sent once more than `ours` knows.

    An event that is older than the history of `ours` does not count.
    """
    sent = [event for event in found.events if event.name in SENT_EVENTS]
    if not sent or sent[-1] in ours.events:
        return False
    return not ours.events_dropped or sent[-1].at >= ours.events[0].at


def _ids(job: Job, oldest: int) -> Iterator[str]:
    if job.execution_id is not None:
        yield job.execution_id
    for attempt in job.attempts:
        if attempt.number >= oldest:
            yield from filter(None, (attempt.execution_id, attempt.request_id))
    for submit in job.uncertain_submits:
        if submit.number >= oldest and submit.request_id is not None:
            yield submit.request_id
