"""Breakers in Redis: shared by all workers, read with the holds, checked when a submit is sent."""

import asyncio

import pytest

from jobs import transitions
from jobs.breakers import (
    Breaker,
    BreakerCause,
    BreakerError,
    BreakerFailure,
    BreakerState,
    FailedSubmit,
    apply_failure,
    breaker_key,
    breaker_keys,
)
from jobs.lanes import Lane, Scope
from jobs.states import Kind
from tests.store.redis_contents import transition_events
from tests.unit.core.job_builders import NOW, admitted
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.preconditions import EpochCheck
from worker.store.side_writes import SideWrites

LANE = Lane("default", Kind.MODEL, "suno")
ROUTE_KEY, TARGET_KEY, LANE_KEY = breaker_keys(LANE)


def fail(breaker: Breaker, number: int) -> Breaker:
    failure = BreakerFailure(
        scope=breaker.scope,
        cause=breaker.cause,
        error=BreakerError("HTTP_502", 502),
        epoch=breaker.epoch,
        submit=FailedSubmit(f"j{number}:1", f"{number}", f"default/model/m{number}"),
    )
    return apply_failure(breaker, failure, NOW)


async def trip(store: Store, key: str = ROUTE_KEY) -> Breaker:
    for number in range(10):
        change = await store.breakers.change(key, lambda b, n=number: fail(b, n))  # type: ignore[misc]
        if change.after.state is BreakerState.OPEN:
            return change.after
    raise AssertionError("it did not trip")


async def test_a_breaker_without_a_record_is_closed(store: Store) -> None:
    change = await store.breakers.change(ROUTE_KEY, lambda breaker: breaker)
    assert change.after.state is BreakerState.CLOSED
    assert change.after.scope == "default/model"
    assert await store.breakers.list_all() == []


async def test_an_open_breaker_is_a_gate(store: Store) -> None:
    breaker = await trip(store)
    gates = await store.holds.gates()
    assert gates.open_breaker(LANE) == breaker
    assert not gates.admits(LANE, NOW)
    assert not gates.admits(LANE, NOW, bypass_hold=True), "a hold bypass does not pass a breaker"
    assert gates.admits(Lane("default", Kind.WORKFLOW, "x"), NOW)
    assert gates.passed_breakers(LANE, NOW).epochs == (breaker.epoch, 0, 0)
    assert await store.breakers.find(breaker.id) == breaker


async def test_failures_of_many_workers_are_all_counted(store: Store) -> None:
    await asyncio.gather(
        *(store.breakers.change(TARGET_KEY, lambda b, n=n: fail(b, n)) for n in range(9))  # type: ignore[misc]
    )
    (breaker,) = await store.breakers.list_all()
    assert breaker.failures == 9


async def test_a_change_of_state_is_an_event_and_no_transition_of_a_job(store: Store) -> None:
    await trip(store)
    assert await transition_events(store) == []
    (entry,) = await store.events.after("0-0", 10)
    assert entry.transitions == ()


async def test_an_unreadable_breaker_is_closed_and_replaced(store: Store) -> None:
    await store.client.call("HSET", store.keys.breakers, ROUTE_KEY, b"garbage")
    assert [one.state for one in (await store.holds.gates()).breakers] == [BreakerState.CLOSED]
    await trip(store)
    assert len(await store.breakers.list_all()) == 1


async def test_a_record_that_changed_is_not_removed(store: Store) -> None:
    old = (await store.breakers.change(TARGET_KEY, lambda b: fail(b, 1))).after
    new = (await store.breakers.change(TARGET_KEY, lambda b: fail(b, 2))).after
    await store.breakers.remove(old)
    assert await store.breakers.list_all() == [new]
    await store.breakers.remove(new)
    assert await store.breakers.list_all() == []


@pytest.mark.parametrize("cause", [BreakerCause.UNKNOWN_OUTCOME, BreakerCause.TARGET_FAILURE])
async def test_a_submit_is_not_sent_in_another_epoch_than_it_was_admitted_in(
    store: Store, cause: BreakerCause
) -> None:
    job = admitted()
    created = await store.jobs.create(job, b"{}")
    assert created is not None
    scope = (
        Scope("default/model") if cause is BreakerCause.UNKNOWN_OUTCOME else Scope(str(job.lane))
    )
    key = breaker_key(scope, cause)
    sent = transitions.send(job, NOW, owner="w", lease_until=NOW + 30)
    check = SideWrites(epochs=(EpochCheck(key, 0),))
    breaker = await trip(store, key)
    assert await store.jobs.commit(created, sent, check) is CommitRefused.GATED
    assert await store.jobs.load(job.id) == created
    check = SideWrites(epochs=(EpochCheck(key, breaker.epoch),))
    assert isinstance(await store.jobs.commit(created, sent, check), VersionedJob)


async def test_submits_that_are_sent_together_read_an_epoch_once(store: Store) -> None:
    """Every submit checks its breakers; one that tripped refuses all of its lane, and no other."""
    jobs = [admitted(id=f"job-{n}") for n in range(6)]
    created = [found for job in jobs if (found := await store.jobs.create(job, b"{}"))]
    lane = str(jobs[0].lane)
    tripped = await trip(store, breaker_key(Scope(lane), BreakerCause.TARGET_FAILURE))
    untouched = breaker_key(Scope("default/model"), BreakerCause.UNKNOWN_OUTCOME)

    async def send_all(*checks: EpochCheck) -> tuple[list[object], int]:
        before = await calls_of(store, "hget")
        written = await asyncio.gather(
            *(
                store.jobs.commit(
                    stored,
                    transitions.send(stored.job, NOW, owner="w", lease_until=NOW + 30),
                    SideWrites(epochs=checks),
                )
                for stored in created
            )
        )
        return list(written), await calls_of(store, "hget") - before

    refused, _ = await send_all(EpochCheck(untouched, 0), EpochCheck(tripped.key, 0))
    assert refused == [CommitRefused.GATED] * len(jobs)
    sent, reads = await send_all(EpochCheck(untouched, 0), EpochCheck(tripped.key, tripped.epoch))
    assert all(isinstance(written, VersionedJob) for written in sent)
    assert reads == 2  # two epochs; revisions are read with what else is in the hash


async def calls_of(store: Store, command: str) -> int:
    """How often Redis has performed a command, in scripts, too."""
    stats = await store.client.call("INFO", "commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])
