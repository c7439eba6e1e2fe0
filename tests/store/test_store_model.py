"""After any sequence of changes Redis holds what `jobs.indexes` derives from the jobs, no more."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from config.settings import Settings
from jobs.effects import PollHistory
from jobs.fairness import FairTurn
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId
from jobs.states import Kind, OnUncertain, State
from tests.store.redis_contents import (
    Scores,
    expected_indexes,
    expected_turns,
    indexes,
    is_ledger,
    is_of_batches,
    keys_of,
    keys_without_a_turn,
    poll_history_ids,
    records,
    sorted_set,
    transition_events,
)
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from tests.unit.core.random_walk import STEP_S, steps
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.polls import NextPoll
from worker.store.side_writes import SideWrites

START_STATES: tuple[Callable[..., Job], ...] = (
    job_builders.queued,
    job_builders.scheduled,
    job_builders.admitted,
    job_builders.submitted,
    job_builders.running,
    job_builders.sync_run,
    job_builders.cancelling,
    job_builders.retrying,
    job_builders.held,
    job_builders.uncertain,
    job_builders.stuck,
    job_builders.manual,
    job_builders.dead,
)
"""Jobs start in any state, so that short test runs reach all states."""

choices = st.integers(0, 10**6)
requests = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(Kind),
        "target": st.sampled_from(["suno", "kling"]),
        "priority": st.sampled_from([-100, 0, 100]),
        "tags": st.sampled_from([(), ("a",), ("a", "b:c")]),
        "batch": st.sampled_from([None, "b1"]),
        "fair_key": st.sampled_from([None, "ann", "bob"]),
        "max_attempts": st.integers(1, 2),
        "start_by": st.sampled_from([None, NOW + 5, NOW + 10_000]),
        "on_uncertain": st.sampled_from(OnUncertain),
    }
)


class StoreMachine(RuleBasedStateMachine):
    """A store beside a model of it: the jobs that should be there, and their old versions."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = NOW
        self.model: dict[str, VersionedJob] = {}
        self.old: list[VersionedJob] = []
        self.lanes: Scores = {}
        self.groups: set[str] = set()
        self.batches: Scores = {}
        self.rescheduled: Scores = {}
        """In-flight jobs whose next poll was claimed or rescheduled since they were written."""
        self.poll_histories: dict[str, tuple[int, int]] = {}
        """In-flight jobs that were polled: job id → attempt and number of polls."""
        self.poller_cache: dict[str, tuple[float, VersionedJob]] = {}
        """The poller's cache of the jobs it polled, old versions included."""
        self.state_changes: list[tuple[str, State | None, State]] = []
        self.run_owners: dict[str, str] = {}
        """Every change of state."""

    @initialize()
    def open(self) -> None:
        settings = Settings(namespace=f"m-{secrets.token_hex(4)}")
        self.redis = connect(settings, self.url)
        self.store: Store = open_store(self.redis, settings.namespace)

    def teardown(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    async def _close(self) -> None:
        keys = await keys_of(self.store)
        if keys:
            await self.store.client.call("DEL", *keys)
        await self.redis.aclose(close_connection_pool=True)

    def _keep(self, stored: VersionedJob) -> None:
        """Record what was written, and the registers that list it."""
        before = self.model.get(stored.job.id)
        self.model[stored.job.id] = stored
        was = before.job.state if before is not None else None
        if was is not stored.job.state:
            self.state_changes.append((stored.job.id, was, stored.job.state))
        known = set[str]() if before is None else set(expected_indexes(self.store, [before.job]))
        for key in set(expected_indexes(self.store, [stored.job])) - known:
            prefix, _, name = key.removeprefix(f"{self.store.keys.namespace}:").partition(":")
            if prefix == Index.LANE:
                self.lanes.setdefault(name, stored.job.updated_at)
            elif prefix == Index.GROUP:
                self.groups.add(name)
            elif prefix == Index.BATCH:
                self.batches[name] = stored.job.created_at
        inflight = self.store.keys.index(Index.INFLIGHT)
        if before is None or self._score(before.job, inflight) != self._score(stored.job, inflight):
            self.rescheduled.pop(stored.job.id, None)
        if self._score(stored.job, inflight) is None:
            self.poll_histories.pop(stored.job.id, None)

    def _score(self, job: Job, key: str) -> float | None:
        return expected_indexes(self.store, [job]).get(key, {}).get(job.id)

    def _in_flight(self) -> Scores:
        """Running jobs, with the time of their next poll."""
        inflight = self.store.keys.index(Index.INFLIGHT)
        known = expected_indexes(self.store, [stored.job for stored in self.model.values()])
        return known.get(inflight, {}) | self.rescheduled

    def _is_of_another_job(self, run: str | None, job: Job) -> bool:
        """Whether the run is new to the job, and another one's."""
        if run is None or run == job.execution_id:
            return False
        known = expected_indexes(self.store, [stored.job for stored in self.model.values()])
        index = known.get(self.store.keys.index(Index.EXECUTION, run), {})
        first = min(index, key=lambda member: (index[member], member), default=job.id)
        return {self.run_owners.get(run, job.id), first} != {job.id}

    def _any(self, choice: int) -> VersionedJob:
        return list(self.model.values())[choice % len(self.model)]

    @rule(begin=st.sampled_from(START_STATES), facts=requests, number=st.integers(0, 5))
    def create(self, begin: Callable[..., Job], facts: dict[str, Any], number: int) -> None:
        job = begin(id=JobId(f"j{number}"), created_at=self.now, **facts)
        stored = self.runner.run(self.store.jobs.create(job, b"{}"))
        assert (stored is None) is (job.id in self.model)
        if stored is not None:
            self._keep(stored)

    @precondition(lambda self: self.model)
    @rule(choice=choices, picks=st.lists(choices, min_size=1, max_size=6))
    def apply_steps(self, choice: int, picks: list[int]) -> None:
        stored = self._any(choice)
        for pick in picks:
            self.now += STEP_S
            ahead = steps(stored.job, self.now)
            if not ahead:
                return
            self.old.append(stored)
            after = ahead[pick % len(ahead)].take()
            written = self.runner.run(self.store.jobs.commit(stored, after, self._turn(after)))
            if self._is_of_another_job(after.execution_id, stored.job):
                assert written is CommitRefused.RUN_TAKEN
                return
            assert isinstance(written, VersionedJob)
            if after.execution_id not in (None, stored.job.execution_id):
                self.run_owners[str(after.execution_id)] = after.id
            self._keep(written)
            stored = written

    def _turn(self, after: Job) -> SideWrites:
        is_admitted = after.state is State.SUBMITTING
        turn = FairTurn(self.now, cap=1) if is_admitted and after.fair_key else None
        return SideWrites(fair_turn=turn)

    @precondition(lambda self: self.old)
    @rule(choice=choices, pick=choices, delete=st.booleans())
    def write_a_stale_version(self, choice: int, pick: int, *, delete: bool) -> None:
        stale = self.old[choice % len(self.old)]
        ahead = steps(stale.job, self.now)
        if delete:
            assert self.runner.run(self.store.jobs.delete(stale)) is False
        elif ahead:
            after = ahead[pick % len(ahead)].take()
            written = self.runner.run(self.store.jobs.commit(stale, after))
            assert written is CommitRefused.SUPERSEDED

    @precondition(lambda self: self.model)
    @rule(choice=choices)
    def delete(self, choice: int) -> None:
        stored = self._any(choice)
        assert self.runner.run(self.store.jobs.delete(stored)) is True
        del self.model[stored.job.id]
        self.rescheduled.pop(stored.job.id, None)
        self.poll_histories.pop(stored.job.id, None)
        self.old.append(stored)

    @precondition(lambda self: self._in_flight())
    @rule(wait_s=st.sampled_from([0.0, 5.0, 400.0]))
    def claim_polls(self, wait_s: float) -> None:
        self.now += wait_s
        due = {job for job, at in self._in_flight().items() if at <= self.now}
        claim = self.store.polls.claim(self.now, self.now + 10, 99, self.poller_cache)
        claimed, next_poll, unreadable = self.runner.run(claim)
        assert not unreadable
        assert {found.stored.job.id for found in claimed} == due
        for found in claimed:
            job = found.stored.job
            assert found.stored == self.model[job.id], "what is known of a job is its last version"
            attempt, polls = self.poll_histories.get(job.id, (0, 0))
            assert found.history.polls == (polls if attempt == job.submits else 0)
        self.rescheduled |= dict.fromkeys(due, self.now + 10)
        assert next_poll == min(self._in_flight().values())

    @precondition(lambda self: self._in_flight())
    @rule(choice=choices, wait_s=st.sampled_from([0.5, 30.0]), leased=st.booleans())
    def reschedule_poll(self, choice: int, wait_s: float, *, leased: bool) -> None:
        """A poller sets the next poll if the job is unchanged since its claim."""
        inflight = self._in_flight()
        job_id = sorted(inflight)[choice % len(inflight)]
        stored, at = self.model[job_id], self.now + wait_s
        lease = self.now + 10 if leased else None
        next_poll = NextPoll(stored.job, at, PollHistory(choice), lease)
        ours = lease is None or inflight[job_id] == lease
        assert self.runner.run(self.store.polls.reschedule([next_poll])) == ours
        if ours:
            self.rescheduled[job_id] = at
            self.poll_histories[job_id] = stored.job.submits, choice
            self.poller_cache[job_id] = at, stored

    @precondition(lambda self: self.lanes)
    @rule()
    def retire_empty_lanes(self) -> None:
        for lane in {stored.job.lane for stored in self.model.values()}:
            waiting = any(
                stored.job.lane == lane
                and stored.job.state is State.QUEUED
                and not stored.job.bypass_hold
                for stored in self.model.values()
            )
            assert self.runner.run(self.store.lanes.retire(lane)) is not waiting
            if not waiting:
                self.lanes.pop(str(lane), None)

    @invariant()
    def redis_holds_what_the_jobs_say_and_nothing_else(self) -> None:
        self.runner.run(self._compare())

    async def _compare(self) -> None:
        keys, jobs = self.store.keys, [stored.job for stored in self.model.values()]
        wanted = expected_indexes(self.store, jobs)
        if self.rescheduled:
            wanted[keys.index(Index.INFLIGHT)] |= self.rescheduled
        assert await indexes(self.store) == wanted
        found = await records(self.store)
        assert found == {id_: (stored.rev, stored.job) for id_, stored in self.model.items()}
        assert await sorted_set(self.store, keys.lanes) == self.lanes
        assert set(await sorted_set(self.store, keys.groups)) == self.groups
        assert await sorted_set(self.store, keys.batches) == self.batches
        turns = expected_turns(self.store, jobs)
        for key, members in turns.items():
            found_turns = await sorted_set(self.store, key)
            assert set(found_turns) == members
            of_lane = [job for job in jobs if keys.key_turns(str(job.lane)) == key]
            assert not keys_without_a_turn(found_turns, of_lane)
        registers = {keys.lanes} if self.lanes else set[str]()
        registers |= {keys.groups} if self.groups else set()
        registers |= {keys.batches} if self.batches else set()
        registers |= {keys.events} if self.state_changes else set()
        registers |= {keys.polls} if self.poll_histories else set()
        registers |= (
            {keys.recovery} if await self.store.client.call("EXISTS", keys.recovery) else set()
        )
        registers |= {keys.run_owner(run) for run in self.run_owners}
        assert await poll_history_ids(self.store) == set(self.poll_histories)
        events = [event for entry in await transition_events(self.store) for event in entry]
        assert [(event.id, event.before, event.after) for event in events] == self.state_changes
        own = {
            key
            for key in await keys_of(self.store)
            if not is_ledger(self.store, key) and not is_of_batches(self.store, key)
        }
        assert own == {*wanted, *turns, *map(keys.job, self.model), *registers}


def test_the_store_agrees_with_its_model(redis_url: str) -> None:
    class BoundStoreMachine(StoreMachine):
        url = redis_url

    bounded = bounds(max_examples=40, stateful_step_count=30, deadline=None, database=None)
    run_state_machine_as_test(BoundStoreMachine, settings=bounded)
