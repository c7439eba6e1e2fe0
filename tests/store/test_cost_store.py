"""What runs cost lately: noted in memory, written together, one number a target for readers."""

from typing import Any

import msgspec
import pytest
from arq import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.credits.estimates import MAX_COSTS
from jobs.job import Job
from jobs.states import State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from worker.store import Store, open_store
from worker.store.client import Command
from worker.store.costs import MAX_NOTED_TARGETS, WRITE_INTERVAL_S


def note(store: Store, target: str, *costs: float) -> None:
    for cost in costs:
        store.costs.note(target, cost)


async def recent(store: Store, targets: list[str]) -> dict[str, float]:
    reply = await store.client.call(*store.costs.read_command(targets))
    return store.costs.recent_of(targets, reply)


async def test_the_newest_runs_of_a_target_count_by_their_95th_percentile(store: Store) -> None:
    note(store, "model/suno", *[1.0] * 94, *[9.0] * 6)
    note(store, "model/gpt-image-2", 8.0)
    await store.costs.write_noted()
    wanted = ["model/suno", "model/gpt-image-2", "model/none"]
    assert await recent(store, wanted) == {"model/suno": 9.0, "model/gpt-image-2": 8.0}
    note(store, "model/suno", *[2.0] * MAX_COSTS)
    await store.costs.write_noted()
    assert await recent(store, ["model/suno"]) == {"model/suno": 2.0}, "the older ones are out"
    key = store.keys.costs_of("model/suno")
    assert await store.client.call("LLEN", key) == MAX_COSTS


async def test_costs_of_several_processes_count_together(
    store: Store, redis: ArqRedis, namespace: str
) -> None:
    other = open_store(redis, namespace)
    note(store, "model/suno", 5.0)
    note(other, "model/suno", 1.0)
    await store.costs.write_noted()
    await other.costs.write_noted()
    assert await recent(store, ["model/suno"]) == {"model/suno": 5.0}


async def test_a_run_counts_once_when_its_cost_is_known(store: Store) -> None:
    """Of a run that a webhook settled, the provider's list tells the cost later."""
    running, settled = a_run(State.RUNNING), a_run(State.SUCCEEDED)
    known = a_run(State.SUCCEEDED, cost=8.0)
    store.costs.note_run(running, settled)
    store.costs.note_run(settled, known)
    store.costs.note_run(known, known)
    store.costs.note_run(running, a_run(State.DEAD, cost=500.0))
    await store.costs.write_noted()
    key = store.keys.costs_of(f"{known.kind}/{known.target}")
    assert [float(one) for one in await store.client.call("LRANGE", key, 0, -1)] == [8.0]
    store.costs.note_run(running, known)
    await store.costs.write_noted()
    assert await store.client.call("LLEN", key) == 2, "an answer tells it at once"


def a_run(state: State, cost: float | None = None) -> Job:
    job = job_builders.running()
    attempt = msgspec.structs.replace(job.attempts[-1], cost=cost)
    return msgspec.structs.replace(job, state=state, attempts=(attempt,))


async def test_they_are_written_rarely_and_only_where_there_are_some(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(store, "model/suno", 3.0)
    await store.costs.write_due(NOW - 60)
    sent = count_commands(store, monkeypatch)
    await store.costs.write_due(NOW)
    assert not sent, "nothing was noted"
    note(store, "model/suno", *[3.0] * 500)
    await store.costs.write_due(NOW + WRITE_INTERVAL_S - 1)
    assert not sent
    await store.costs.write_due(NOW + WRITE_INTERVAL_S)
    assert len(sent) == 5, "500 runs take five commands"
    await store.costs.write_due(NOW - 60)
    assert len(sent) == 5, "a clock that was set back harms nothing"
    assert await recent(store, ["model/suno"]) == {"model/suno": 3.0}


async def test_the_first_cost_of_a_target_is_written_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a budget, runs of unknown cost go one at a time until it is known."""
    note(store, "model/suno", 3.0)
    await store.costs.write_due(NOW)
    sent = count_commands(store, monkeypatch)
    note(store, "model/suno", 3.0)
    await store.costs.write_due(NOW + 1)
    assert not sent
    note(store, "model/kling", 35.0)
    await store.costs.write_due(NOW + 2)
    assert sent


async def test_what_could_not_be_written_is_written_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> list[Any]:
        note(store, "model/suno", 7.0)
        raise RedisConnectionError

    note(store, "model/suno", 4.0)
    with monkeypatch.context() as away:
        away.setattr(store.client, "many", fail)
        with pytest.raises(RedisConnectionError):
            await store.costs.write_noted()
    await store.costs.write_noted()
    rows = await store.client.call("LRANGE", store.keys.costs_of("model/suno"), 0, -1)
    assert [float(row) for row in rows] == [7.0, 4.0]


async def test_what_is_noted_is_bounded(store: Store) -> None:
    for n in range(MAX_NOTED_TARGETS + 1):
        note(store, f"model/m{n}", 1.0)
    await store.costs.write_noted()
    last = [f"model/m{n}" for n in (MAX_NOTED_TARGETS - 1, MAX_NOTED_TARGETS)]
    assert await recent(store, last) == {last[0]: 1.0}


def count_commands(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    sent: list[Command] = []
    call, many = store.client.call, store.client.many

    async def counted_call(*command: Any) -> Any:
        sent.append(command)
        return await call(*command)

    async def counted_many(commands: list[Command]) -> list[Any]:
        sent.extend(commands)
        return await many(commands)

    monkeypatch.setattr(store.client, "call", counted_call)
    monkeypatch.setattr(store.client, "many", counted_many)
    return sent
