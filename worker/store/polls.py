"""Polls of running jobs: claim those that are due, set the next ones, keep their history."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, assert_never

from jobs.effects import PollHistory
from jobs.indexes import Index
from jobs.job import Job
from worker.store.client import Client
from worker.store.codec import decode_poll_history, encode_poll_history
from worker.store.commit import VersionedJob
from worker.store.jobs import JobStore, NewerRecord, UnreadableRecord
from worker.store.keys import Keys
from worker.store.scripts import Scripts

NO_CACHED_JOBS: Final[Mapping[str, tuple[float, VersionedJob]]] = {}


class ClaimedPoll(NamedTuple):
    """A running job whose poll was claimed."""

    stored: VersionedJob
    history: PollHistory


class PollClaim(NamedTuple):
    """What one claim of due polls returned."""

    polls: list[ClaimedPoll]
    next_poll_at: float | None
    """When the next poll is due, Unix seconds; None if no job is in flight."""
    unreadable: Sequence[UnreadableRecord] = ()
    """Jobs whose poll was claimed and whose record is unreadable."""


class NextPoll(NamedTuple):
    """When a running job is polled next, and its poll history."""

    job: Job
    at: float
    history: PollHistory
    lease: float | None = None
    """The end of the lease under which the poll was claimed. If the index has another time by now,
    nothing is set. None: set it in any case."""


class PollStore:
    """The polls of one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts, jobs: JobStore) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts
        self._jobs = jobs
        self._set_keys = (keys.index(Index.INFLIGHT), keys.polls)

    async def claim(
        self,
        now: float,
        lease_until: float,
        limit: int,
        cached: Mapping[str, tuple[float, VersionedJob]] = NO_CACHED_JOBS,
    ) -> PollClaim:
        """Claim running jobs whose poll is due; they are due again when the lease ends.

        `cached` has jobs as they were read before, with the time of their next poll. If that time
        is unchanged, so is the job, and it is not read again. The id of a job without a record is
        removed from the index. A job that a newer version wrote keeps its time: a worker of that
        version polls it.
        """
        rows, next_poll = await self._scripts.poll(
            self._set_keys, now, lease_until, limit, self._jobs.newer.ids()
        )
        found = {
            job_id: cached[job_id][1]
            for job_id, at, _ in rows
            if job_id in cached and cached[job_id][0] == at
        }
        unknown = [job_id for job_id, _, _ in rows if job_id not in found]
        unreadable: list[UnreadableRecord] = []
        newer: list[str] = []
        for job_id, record in zip(unknown, await self._jobs.read_many(unknown), strict=True):
            match record:
                case VersionedJob():
                    found[job_id] = record
                case UnreadableRecord():
                    unreadable.append(record)
                case NewerRecord():
                    newer.append(job_id)
                case None:
                    job_key, inflight = self._keys.job(job_id), self._set_keys[0]
                    await self._scripts.remove_entry(job_key, inflight, "", job_id)
                case _:
                    assert_never(record)
        if newer:
            scores = [part for job_id, at, _ in rows if job_id in newer for part in (at, job_id)]
            await self._client.call("ZADD", self._set_keys[0], "XX", *scores)
        polls = [
            ClaimedPoll(found[job_id], decode_poll_history(history, found[job_id].job.submits))
            for job_id, _, history in rows
            if job_id in found
        ]
        return PollClaim(polls, next_poll, unreadable)

    async def reschedule(self, polls: Iterable[NextPoll]) -> int:
        """Set the next poll of running jobs; returns how many were set."""
        rows = [
            (
                next_.job.id,
                next_.lease,
                next_.at,
                encode_poll_history(next_.job.submits, next_.history),
            )
            for next_ in polls
        ]
        return await self._scripts.reschedule(self._set_keys, rows)

    async def count_until(self, moment: float) -> int:
        """How many running jobs have a poll due by a moment."""
        key = self._keys.index(Index.INFLIGHT)
        return int(await self._client.call("ZCOUNT", key, "-inf", moment))

    async def make_due(self, job_ids: Sequence[str], now: float) -> None:
        """Make the polls of these jobs due now, if they are still in flight."""
        if job_ids:
            scores = [part for job_id in job_ids for part in (now, job_id)]
            await self._client.call("ZADD", self._keys.index(Index.INFLIGHT), "XX", *scores)

    async def history(self, job: Job) -> PollHistory:
        """What earlier polls of the job's present attempt returned."""
        history = await self._client.call("HGET", self._keys.polls, job.id)
        return decode_poll_history(history, job.submits)
