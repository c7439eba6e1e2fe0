"""Many lanes: admission reads a window of those that are due, and a release makes others due."""

import pytest

from jobs.lanes import Scope
from tests.unit.core.job_builders import NOW
from worker.store import Store, lanes


async def register(store: Store, *names: str) -> None:
    for number, name in enumerate(names):
        await store.client.call("ZADD", store.keys.lanes, NOW + number * 1e-3, name)


def names_of(found: tuple[object, ...]) -> list[str]:
    return [str(lane).rpartition("/")[2] for lane in found]


async def test_few_lanes_are_all_read_whenever_they_are_due(store: Store) -> None:
    await register(store, "default/model/a", "default/model/b")
    await store.client.call("ZADD", store.keys.lanes, NOW + 900, "default/model/a")
    queues = await store.lanes.snapshot(NOW)
    assert (names_of(queues.lanes), queues.is_window) == (["b", "a"], False)


async def test_of_many_lanes_the_first_that_are_due_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WINDOW_LANES", 3)
    await register(store, *(f"default/model/{name}" for name in "abcde"))
    assert names_of((await store.lanes.snapshot(NOW)).lanes) == ["a", "b", "c"]
    off = dict.fromkeys((await store.lanes.snapshot(NOW)).lanes, NOW + 100)
    await store.lanes.record_turns(off)
    queues = await store.lanes.snapshot(NOW)
    assert (names_of(queues.lanes), queues.lane_count) == (["d", "e"], 5)
    assert len((await store.lanes.snapshot()).lanes) == 5, "without a time all of them"
    assert names_of((await store.lanes.snapshot(NOW + 100)).lanes) == ["d", "e", "a"]


@pytest.mark.parametrize(
    ("scope", "due"), [("default/model/a", ["a"]), ("default", ["a", "b"]), ("studio", [])]
)
async def test_a_release_makes_the_lanes_of_its_scope_due(
    store: Store, monkeypatch: pytest.MonkeyPatch, scope: str, due: list[str]
) -> None:
    monkeypatch.setattr(lanes, "WINDOW_LANES", 2)
    await register(store, "default/model/a", "default/model/b", "other/model/c")
    every = (await store.lanes.snapshot()).lanes
    await store.lanes.record_turns(dict.fromkeys(every, NOW + 100))
    await store.lanes.make_due(Scope(scope), NOW)
    assert names_of((await store.lanes.snapshot(NOW)).lanes) == due


async def test_lanes_without_jobs_leave_the_register(store: Store) -> None:
    await register(store, "default/model/a")
    await store.registers.remove_empty()
    assert (await store.lanes.snapshot()).lane_count == 0
