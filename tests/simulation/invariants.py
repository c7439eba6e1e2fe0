"""The invariants of the whole program, checked on Redis and on what the provider really ran.

A snapshot reads everything in Redis. The checker keeps the one before: jobs carry their events, so
it checks every transition between two snapshots, however many there were.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobs.budgets.room import BudgetStatus
from jobs.budgets.use import BudgetPart, UsedPart, changed_use
from jobs.holds import Gates
from jobs.indexes import WATCHED_INDEXES, Index, accepts_run_updates, entries
from jobs.job import BUDGET, INPUTS_LOST, MANUAL, STUCK, UNCERTAIN, Job, JobEvent
from jobs.lifecycle import OPERATOR_TRANSITIONS, TRANSITIONS, Transition
from jobs.outcomes import Accepted, Finished, RunCancelled
from jobs.start_by import send_limit
from jobs.states import PRUNABLE, SETTLED, State
from tests.simulation.simulated_provider import ProviderRecord, SimulatedCall
from tests.store.redis_contents import (
    expected_turns,
    is_index,
    keys_without_a_turn,
    poll_history_ids,
    transition_events,
)
from worker.engine.deciders import INTERNAL
from worker.store import Store
from worker.store.codec import decode_job
from worker.store.commit import TransitionEvent
from worker.store.keys import Keys

Scores = dict[str, float]

RESCORED_BY_CLAIMS: Final = (Index.LEASE, Index.INFLIGHT)
"""Their scores change without the record: leases are extended, polls claimed and rescheduled."""

LONGEST_WAIT_S: Final = 400.0
"""No job in the lease or in-flight index is due later than in this time (stuck runs: 330 s)."""

PROVIDER_TRANSITIONS: Final = {
    UNCERTAIN: {
        Transition.ACCEPT,
        Transition.SUCCEED,
        Transition.FIND_RUN,
        Transition.PARK_FAILED_RUN,
    },
    STUCK: {
        Transition.SUCCEED,
        Transition.PARK_UNCERTAIN,
        Transition.PARK_FAILED_RUN,
        Transition.CANCEL,
    },
}
"""What may happen to a parked job without an operator: the end of a run already paid for."""

EVENTS_WITHOUT_TRANSITION: Final = {
    "enqueue",
    "edited",
    "cancel_sent",
    "finding",
    "late_answer",
    "new_status",
    "other_run",
}


MAY_RESERVE: Final = (State.SUBMITTING, State.RUNNING, State.CANCELLING, State.PARKED)
"""States of jobs that may have something in flight, beside those that await a finding."""

EXACT: Final = "its limit was never lowered, and nothing was in flight when it was set"
"""The note of a budget that is never exceeded: runs cost what is expected."""


@dataclass(frozen=True, slots=True)
class RedisSnapshot:
    """Everything in Redis at a moment without writes."""

    jobs: dict[str, Job]
    results: dict[str, bytes | None]
    sets: dict[str, Scores]
    """Every index of jobs, by key."""
    lanes: Scores
    groups: Scores
    turns: dict[str, Scores]
    """The turns of fair keys, by key."""
    audit_entries: int
    gates: Gates
    poll_history_ids: set[str]
    """Jobs with a recorded poll history."""
    events: dict[str, list[TransitionEvent]]
    """The stream of events, by job."""
    budgets: list[BudgetStatus]
    used: dict[str, dict[str, int]]
    """Key → what a budget has spent and reserved."""
    store: Store


async def read_snapshot(store: Store) -> RedisSnapshot:
    """Read everything in a few round trips."""
    keys, prefix = store.keys, store.keys.job("")
    found: list[bytes] = await store.client.call("KEYS", f"{keys.namespace}:*")
    names = sorted(name.decode() for name in found)
    ids = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    indexes = [name for name in names if is_index(store, name)]
    turns = [name for name in names if name.startswith(keys.key_turns(""))]
    rows: list[Any] = await store.client.many(
        [
            ("XLEN", keys.audit),
            *(("HMGET", keys.job(job_id), "rec", "result") for job_id in ids),
            *(("ZRANGE", name, 0, -1, "WITHSCORES") for name in [keys.lanes, keys.groups]),
            *(("ZRANGE", name, 0, -1, "WITHSCORES") for name in [*turns, *indexes]),
        ]
    )
    audit_entries, records = rows[0], rows[1 : 1 + len(ids)]
    sets = [_scores(row) for row in rows[1 + len(ids) :]]
    return RedisSnapshot(
        {job_id: decode_job(rec) for job_id, (rec, _) in zip(ids, records, strict=True)},
        {job_id: result for job_id, (_, result) in zip(ids, records, strict=True)},
        dict(zip(indexes, sets[2 + len(turns) :], strict=True)),
        lanes=sets[0],
        groups=sets[1],
        turns=dict(zip(turns, sets[2:], strict=False)),
        audit_entries=audit_entries,
        gates=await store.holds.gates(),
        poll_history_ids=await poll_history_ids(store),
        events=by_job(await transition_events(store)),
        budgets=await store.budgets.statuses(0.0),
        used=await _used(store, names),
        store=store,
    )


async def _used(store: Store, names: list[str]) -> dict[str, dict[str, int]]:
    keys = [name for name in names if name.startswith(f"{store.keys.namespace}:budget-use:")]
    rows = await store.client.many([("HGETALL", key) for key in keys])
    return {
        key: {field.decode(): int(amount) for field, amount in row.items()}
        for key, row in zip(keys, rows, strict=True)
    }


def _starts_in_time(job: Job) -> None:
    """Nothing is sent after the `start_by` of a job, unless it may have run before."""
    for number, attempt in enumerate(job.attempts):
        limit = send_limit(msgspec.structs.replace(job, attempts=job.attempts[:number]))
        assert limit is None or attempt.started_at < limit, f"{job.id} was sent too late"


def by_job(entries_: list[list[TransitionEvent]]) -> dict[str, list[TransitionEvent]]:
    """The events of each job, in order."""
    found: dict[str, list[TransitionEvent]] = {}
    for entry in entries_:
        for event in entry:
            found.setdefault(event.id, []).append(event)
    return found


def _scores(row: list[bytes]) -> Scores:
    return {m.decode(): float(s) for m, s in zip(row[::2], row[1::2], strict=True)}


class InvariantChecker:
    """Checks each snapshot against the one before and against the provider's record."""

    def __init__(self, record: ProviderRecord, retention_s: float) -> None:
        self._record = record
        self._retention_s = retention_s
        self._before: dict[str, Job] = {}
        self._results: dict[str, bytes | None] = {}
        self.actions = 0
        """Audited actions of operators that were answered."""
        self._spent_by_pruned: Counter[UsedPart] = Counter()
        self.transitions_seen: Counter[tuple[State, Transition]] = Counter()
        """Every transition seen."""

    def begin(self, job: Job) -> None:
        """A job was acknowledged: from now on it may not be lost."""
        self._before[job.id] = job

    def check(self, now: RedisSnapshot, at: float) -> None:
        """Check what holds at every moment."""
        assert not self._record.violations, self._record.violations
        self._nothing_is_lost(now, at)
        _indexes_match_the_records(now, at)
        for job in now.jobs.values():
            self._check_transitions(self._before[job.id], job)
            _every_state_change_has_its_event(now.events[job.id], job)
            self._check_job(job, now)
        self._budgets_match_the_records(now)
        assert now.audit_entries == self.actions, "an action of an operator is not on record"
        self._before, self._results = now.jobs, now.results

    def check_settled(self, now: RedisSnapshot) -> None:
        """Check what holds once everything has settled: every paid answer was kept."""
        for call in self._record.answered():
            job = now.jobs.get(call.job_id)
            evidence = call.kind == "hook" and job is not None and job.parked_as == UNCERTAIN
            if job is not None and self._record.is_final(call) and not evidence:
                self._is_kept(call, job, now.results[job.id])

    def _is_kept(self, call: SimulatedCall, job: Job, result: bytes | None) -> None:
        match call.answer_given:
            case Accepted(execution_id=execution_id):
                assert execution_id in _executions(job), f"{job.id} lost {execution_id}: {job}"
            case Finished(result=paid):
                assert result == paid, f"{job.id} lost the result of {call}: {job}"
            case RunCancelled(result=bytes() as paid):
                assert result == paid, f"{job.id} lost the result of {call}: {job}"
            case _:
                pass

    # No job is lost.

    def _nothing_is_lost(self, now: RedisSnapshot, at: float) -> None:
        for job_id, job in self._before.items():
            if job_id not in now.jobs:
                events = now.events.get(job_id, [])
                state, since = (events[-1].after, events[-1].at) if events else (None, job.since)
                old = state in PRUNABLE and since <= at - self._retention_s
                assert old, f"{job_id} is gone; it was {state}"
        strangers = now.jobs.keys() - self._before.keys()
        assert not strangers, f"{strangers} were never enqueued"

    # Budgets hold, and no reservation leaks.

    def _budgets_match_the_records(self, now: RedisSnapshot) -> None:
        sums = Counter[UsedPart]()
        for job_id, before in self._before.items():
            if job_id not in now.jobs:
                self._spent_by_pruned.update(changed_use(None, before))
        for job in now.jobs.values():
            own = changed_use(None, job)
            is_in_flight = job.state in MAY_RESERVE or job.awaits_finding
            leaks = [used for used in own if used.part is BudgetPart.RESERVED]
            assert is_in_flight or not leaks, f"{job.id} is {job.state} and reserves {leaks}"
            sums.update(own)
        sums.update(self._spent_by_pruned)
        wanted: dict[str, dict[str, int]] = {}
        for used, amount in sums.items():
            key = now.store.keys.budget_use(used.budget, used.generation, used.period)
            if amount:
                wanted.setdefault(key, {})[used.part] = amount
        found = {
            key: {part: amount for part, amount in row.items() if amount}
            for key, row in now.used.items()
        }
        assert {key: row for key, row in found.items() if row} == wanted
        for status in now.budgets:
            if status.budget.note == EXACT:
                assert status.use.total <= status.budget.limit_micro, f"exceeded: {status}"

    # Only operators free the parked, and the first terminal state wins.

    def _check_transitions(self, before: Job, after: Job) -> None:
        """Check every transition between two versions."""
        state, code = before.state, before.parked_as
        for event in _new_events(before, after):
            if event.name in EVENTS_WITHOUT_TRANSITION:
                continue
            transition = Transition(event.name)
            assert (state, transition) in TRANSITIONS, (
                f"{after.id}: {transition} of a job that is {state}"
            )
            self.transitions_seen[state, transition] += 1
            self._only_operators_free_the_parked(after.id, state, code, transition, event)
            if transition is Transition.PARK_UNCERTAIN:
                has_cause = self._record.may_be_uncertain(after.id)
                assert has_cause, f"{after.id} was parked as uncertain without a cause"
            state = TRANSITIONS[state, transition]
            code = _parked_code(transition, event) or code
        assert state is after.state, f"{after.id}: its events lead to {state}, not {after.state}"
        if before.state in PRUNABLE:
            is_answered_late = after.events[-1].name == "late_answer"
            is_same = _without_reservations(after) == _without_reservations(before)
            assert is_same or is_answered_late, f"{after.id} had settled, and changed"

    def _only_operators_free_the_parked(
        self, job_id: str, state: State, code: str | None, transition: Transition, event: JobEvent
    ) -> None:
        if state not in (State.PARKED, State.DEAD) or event.by:
            return
        allowed = PROVIDER_TRANSITIONS.get(code or "", set[Transition]())
        allowed = allowed if state is State.PARKED else set[Transition]()
        assert transition in allowed, (
            f"{job_id} left {state} ({code}) by {transition} without an operator"
        )
        assert transition not in OPERATOR_TRANSITIONS

    # One record.

    def _check_job(self, job: Job, now: RedisSnapshot) -> None:
        before, result = self._before[job.id], now.results[job.id]
        known = _executions(before) - _executions(job)
        assert not known, f"{job.id} forgot {known}"
        if before.state in PRUNABLE and job.id in self._results:
            assert self._results[job.id] == result, f"the result of {job.id} changed"
        if job.state is State.SUCCEEDED:
            assert result in set(self._paid_results(job.id)), (
                f"{job.id} has a result that was not reported"
            )
        if job.state in (State.PARKED, State.DEAD):
            assert job.reason is not None
            assert job.reason.action, f"{job.id} does not say what an operator can do"
            text = f"{job.reason.code} {job.reason.message}"
            assert INTERNAL not in text, f"the program failed over {job.id}: {text}"
            assert " in the worker" not in text, f"the program failed over {job.id}: {text}"
        if job.state in (State.RUNNING, State.CANCELLING) and job.execution_id is not None:
            assert self._record.runs[job.execution_id].job_id == job.id
        _starts_in_time(job)
        allowed = self._record.attempts_that_count(job.id)
        assert job.spent <= allowed, f"{job.id} spent {job.spent} attempts, {allowed} may count"

    def _paid_results(self, job_id: str) -> Iterator[bytes]:
        for call in self._record.answered():
            if call.job_id == job_id and isinstance(call.answer_given, Finished | RunCancelled):
                yield call.answer_given.result or b""


def _every_state_change_has_its_event(events: list[TransitionEvent], job: Job) -> None:
    """The events of the stream lead to the state of the job, each change once."""
    state: State | None = None
    for event in events:
        is_new = event.before is None and state in PRUNABLE  # of a job that is pruned by now
        assert event.before is state or is_new, (
            f"{job.id} was {state}, and an event begins at {event.before}"
        )
        assert event.after is not state, f"{job.id} entered {state} twice in a row"
        state = event.after
    assert state is job.state, f"{job.id} is {job.state}, and the last event says {state}"


def _parked_code(transition: Transition, event: JobEvent) -> str | None:
    """The code that a parking transition leaves; None for the others."""
    match transition:
        case Transition.PARK_MANUAL:
            return MANUAL
        case Transition.PARK_REFUSED | Transition.PARK_FAILED_RUN:
            return event.note
        case Transition.PARK_UNCERTAIN:
            return UNCERTAIN
        case Transition.PARK_STUCK:
            return STUCK
        case Transition.PARK_INPUTS_LOST:
            return INPUTS_LOST
        case Transition.PARK_OVER_BUDGET:
            return BUDGET
        case _:
            return None


def _executions(job: Job) -> set[str]:
    ids = {attempt.execution_id for attempt in job.attempts} | {job.execution_id}
    return {execution_id for execution_id in ids if execution_id is not None}


def _new_events(before: Job, after: Job) -> tuple[JobEvent, ...]:
    """The events of `after` that `before` did not have."""
    known = before.events_dropped + len(before.events) - after.events_dropped
    assert known >= 0, f"{after.id} dropped events that were not checked"
    return after.events[known:]


def _indexes_match_the_records(now: RedisSnapshot, at: float) -> None:
    """Each index has the entries of the records, and no others."""
    keys = now.store.keys
    wanted: dict[str, Scores] = {}
    watched = Counter[str]()
    for job in now.jobs.values():
        for entry in entries(job):
            wanted.setdefault(keys.entry(entry), {})[job.id] = entry.score
            watched[job.id] += entry.kind in WATCHED_INDEXES
    for kind in RESCORED_BY_CLAIMS:
        key = keys.index(kind)
        held = now.sets.get(key, {})
        for job_id in wanted.get(key, {}).keys() & held.keys():
            wanted[key][job_id] = held[job_id]
            assert held[job_id] <= at + LONGEST_WAIT_S, f"{job_id} is not due for too long"
    for key in [key for key in wanted if _is_of(key, Index.BATCH_SETTLED, keys)]:
        assert wanted[key].keys() == now.sets[key].keys()
        wanted[key] = now.sets[key]
    assert now.sets == wanted
    strangers = now.poll_history_ids - now.sets.get(keys.index(Index.INFLIGHT), {}).keys()
    assert not strangers, f"the poll history of {strangers} was left behind"
    for job in now.jobs.values():
        is_unwatched = job.state in SETTLED or (
            job.state is State.PARKED and not accepts_run_updates(job)
        )
        expected = 0 if is_unwatched else 1
        assert watched[job.id] == expected, f"{job.id} is watched in {watched[job.id]} indexes"
    lanes = {str(job.lane) for job in now.jobs.values() if _in_lane(job)}
    assert lanes <= now.lanes.keys(), "a lane with jobs is not on the register"
    _waiting_keys_have_turns(now)


def _waiting_keys_have_turns(now: RedisSnapshot) -> None:
    """The turns of a lane are of the keys that have jobs waiting; one at its cap has runs."""
    jobs, keys = list(now.jobs.values()), now.store.keys
    found = {name: set(scores) for name, scores in now.turns.items()}
    assert found == expected_turns(now.store, jobs)
    for name, scores in now.turns.items():
        of_lane = [job for job in jobs if keys.key_turns(str(job.lane)) == name]
        assert not keys_without_a_turn(scores, of_lane)


def _without_reservations(job: Job) -> Job:
    """A job without what a budget wrote that was set after the job had ended."""
    attempts = tuple(msgspec.structs.replace(one, reservations=()) for one in job.attempts)
    return msgspec.structs.replace(job, attempts=attempts)


def _is_of(key: str, kind: Index, keys: Keys) -> bool:
    return key.startswith(keys.index(kind, " ").rstrip())


def _in_lane(job: Job) -> bool:
    is_elsewhere = job.bypass_hold or job.waits_for_budget is not None
    return job.state is State.QUEUED and not is_elsewhere
