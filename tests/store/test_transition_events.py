"""Changes are published to waiting clients; each state change is an event of the stream."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from jobs import transitions
from jobs.states import State
from tests.store.redis_contents import (
    transition_events,
)
from tests.store.test_commit import INPUTS, WAKE_UP, admitted, cancelled, committed, created, parked
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, a_job, queued, running
from worker.store import Store, commit
from worker.store.commit import (
    TransitionEvent,
    VersionedJob,
)
from worker.store.jobs import CommitRefused


@asynccontextmanager
async def subscribed(
    store: Store, *channels: str
) -> AsyncGenerator[Callable[[], Awaitable[tuple[str, str] | None]]]:
    """Subscribe to channels for the block; yields a function that returns the next message."""
    subscription = cast("Any", store.client.redis).pubsub(ignore_subscribe_messages=True)
    await subscription.subscribe(*channels)
    while await subscription.get_message(timeout=0.01) is not None:
        pass

    async def next_message() -> tuple[str, str] | None:
        for _ in range(3):
            message = await subscription.get_message(timeout=0.05)
            if message is not None:
                return message["channel"].decode(), message["data"].decode()
        return None

    yield next_message
    await subscription.aclose()


async def test_queued_settled_and_parked_jobs_are_announced(store: Store) -> None:
    wake, settled = store.keys.wake, store.keys.settled
    async with subscribed(store, wake, settled) as next_message:
        stored = await created(store)
        assert await next_message() == (wake, "default/model/suno")
        stored = await committed(store, stored, admitted(stored.job))
        assert await next_message() is None, "no client waits for that"
        await committed(store, stored, transitions.cancel(stored.job, NOW))
        assert await next_message() == (settled, "j1")
        assert await store.jobs.commit(stored, queued()) is CommitRefused.SUPERSEDED
        assert await next_message() is None


async def test_those_of_a_batch_are_announced_together(store: Store) -> None:
    wake, settled = store.keys.wake, store.keys.settled
    one, two, stale = [await created(store, a_job(id=name)) for name in ("a", "b", "x")]
    async with subscribed(store, wake, settled) as next_message:
        await asyncio.gather(
            store.jobs.commit(one, cancelled(one.job)),
            store.jobs.create(a_job(id="c"), INPUTS),
            store.jobs.commit(VersionedJob(stale.job, "9.beef"), parked(stale.job)),
            store.jobs.commit(two, parked(two.job)),
        )
        messages = [await next_message() for _ in range(4)]
    assert sorted(message for message in messages if message) == [
        (settled, "a b"),
        (wake, "default/model/suno"),
    ]


async def test_every_change_of_state_is_an_event_in_order(store: Store) -> None:
    one = await created(store)
    one = await committed(store, one, admitted(one.job))
    await asyncio.gather(
        store.jobs.create(a_job(id="a"), INPUTS),
        store.jobs.commit(one, transitions.return_to_queue(one.job, NOW + 2, why="so")),
        store.jobs.create(a_job(id="b", target="kling"), INPUTS),
        store.jobs.commit(VersionedJob(one.job, "9.beef"), cancelled(one.job)),
    )
    lane = "default/model/suno"
    assert await transition_events(store) == [
        [TransitionEvent("j1", lane, None, State.QUEUED, NOW)],
        [TransitionEvent("j1", lane, State.QUEUED, State.SUBMITTING, NOW)],
        [
            TransitionEvent("a", lane, None, State.QUEUED, NOW),
            TransitionEvent("j1", lane, State.SUBMITTING, State.QUEUED, NOW + 2),
            TransitionEvent("b", "default/model/kling", None, State.QUEUED, NOW),
        ],
    ]


async def test_an_event_has_the_code_of_the_reason(store: Store) -> None:
    stored = await created(store, running())
    await committed(store, stored, job_builders.held())
    (_, (event,)) = await transition_events(store)
    assert (event.before, event.after) == (State.RUNNING, State.PARKED)
    assert event.code == "INSUFFICIENT_CREDITS"
    names = {"id", "lane", "from", "to", "at", "code"}
    assert set(msgspec.json.decode(msgspec.json.encode(event))) == names


async def test_what_changes_no_state_is_no_event(store: Store) -> None:
    stored = await created(store, job_builders.cancelling())
    before = await transition_events(store)
    written = await committed(store, stored, transitions.mark_cancel_sent(stored.job, NOW + 1))
    await store.jobs.wake(WAKE_UP)
    assert await store.jobs.delete(written)
    assert not await store.jobs.delete(written)
    assert await transition_events(store) == before


async def test_the_stream_of_events_does_not_grow_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "MAX_EVENT_ENTRIES", 100)
    await store.client.call("CONFIG SET", "stream-node-max-entries", 10)
    try:
        for n in range(150):
            await created(store, a_job(id=f"j{n}"))
    finally:
        await store.client.call("CONFIG SET", "stream-node-max-entries", 100)
    events = await transition_events(store)
    assert 100 <= len(events) < 120
    assert events[-1][0].id == "j149", "the oldest are trimmed"
