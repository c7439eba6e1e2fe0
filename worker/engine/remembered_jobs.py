"""What a worker remembers of the runs it paid for, in case Redis loses it.

Bounded by age, number and bytes; the oldest are forgotten first.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from jobs.job import Job
from jobs.states import Mode, State
from worker.store.commit import VersionedJob
from worker.store.side_writes import SideWrites

REMEMBER_S: Final = 300.0
"""How long a version is remembered. Runs that this worker polls, or whose connection it holds open,
are known for as long as they last."""

MAX_JOBS: Final = 5_000
MAX_INPUTS_BYTES: Final = 32 * 2**20
"""Inputs of all jobs together."""
MAX_RESULTS_BYTES: Final = 32 * 2**20
"""Results of all jobs together."""
MAX_RESULT_BYTES: Final = 2**20
"""A larger result is not remembered."""


@dataclass(frozen=True, slots=True)
class RememberedJob:
    """A version of a job as it was written, and what was written beside it."""

    stored: VersionedJob
    inputs: bytes | None = None
    result: bytes | None = None

    @property
    def side_writes(self) -> SideWrites:
        """What has to be written beside the record."""
        return SideWrites(inputs=self.inputs, result=self.result)


class _Payloads:
    """JSON texts by job id, at most `max_bytes` of them together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._texts: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._size = 0

    def put(self, job: Job, text: bytes) -> None:
        self.drop(job.id)
        self._texts[job.id] = job.submits, text
        self._size += len(text)
        while self._size > self._max_bytes:
            self.drop(next(iter(self._texts)))

    def of_submit(self, job: Job) -> bytes | None:
        """The text of the job's last submit: another submit may have another text."""
        number, text = self._texts.get(job.id, (-1, None))
        return text if number == job.submits else None

    def drop(self, job_id: str) -> None:
        _, text = self._texts.pop(job_id, (0, b""))
        self._size -= len(text)


@dataclass(frozen=True, slots=True)
class _Entry:
    stored: VersionedJob
    running: VersionedJob | None
    """The version before, if the job had a result by then that a poll can fetch again."""


class RememberedJobs:
    """The last version that this worker wrote of each job that was sent."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._inputs = _Payloads(MAX_INPUTS_BYTES)
        self._results = _Payloads(MAX_RESULTS_BYTES)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[RememberedJob]:
        """Every job, the oldest first.

        Of an async run whose result is not remembered, the running version: a poll fetches it.
        """
        for entry in list(self._entries.values()):
            result = self._results.of_submit(entry.stored.job)
            stored = entry.stored if result is not None else entry.running or entry.stored
            yield RememberedJob(stored, self.inputs_of(stored.job), result)

    def remember(
        self,
        written: VersionedJob,
        *,
        before: VersionedJob | None = None,
        inputs: bytes | None = None,
        result: bytes | None = None,
    ) -> None:
        """Remember a version of a job that was sent, and its result; `before` is the one before.

        Without `inputs`, those of its submit stay.
        """
        job = written.job
        if not _was_sent(job):
            return
        if inputs is not None:
            self._inputs.put(job, inputs)
        if result is not None and len(result) <= MAX_RESULT_BYTES:
            self._results.put(job, result)
        can_be_polled = result is not None and job.mode is Mode.ASYNC
        self._entries[job.id] = _Entry(written, before if can_be_polled else None)
        self._entries.move_to_end(job.id)
        while len(self._entries) > MAX_JOBS:
            self._forget(next(iter(self._entries)))

    def inputs_of(self, job: Job) -> bytes | None:
        """The inputs of the job's last submit, if this worker made it and still has them."""
        return self._inputs.of_submit(job)

    def forget_older(self, now: float) -> None:
        """Forget what was written longer than `REMEMBER_S` ago."""
        while self._entries:
            job = next(iter(self._entries.values())).stored.job
            if job.updated_at >= now - REMEMBER_S:
                return
            self._forget(job.id)

    def _forget(self, job_id: str) -> None:
        del self._entries[job_id]
        self._inputs.drop(job_id)
        self._results.drop(job_id)


def _was_sent(job: Job) -> bool:
    match job.state:
        case State.SUBMITTING:
            return job.sent_at is not None
        case State.SCHEDULED | State.WAITING | State.QUEUED:
            return False
        case (
            State.RUNNING
            | State.CANCELLING
            | State.PARKED
            | State.RETRYING
            | State.DEAD
            | State.SUCCEEDED
            | State.CANCELLED
        ):
            return True
        case _:
            assert_never(job.state)
