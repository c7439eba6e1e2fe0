"""Sketches of durations in Redis: shared, bounded, and expired by Redis."""

from jobs.polling.samples import MAX_SAMPLES, DurationSample, sample_at, sample_between
from tests.unit.core.job_builders import NOW
from worker.store import Store
from worker.store.client import Client
from worker.store.durations import RETENTION_S, decode_sketch

SUNO = "model/suno"


def a_run(n: int) -> DurationSample:
    return sample_between(NOW + n, 5.0 + n, 6.0 + n)


async def test_what_one_worker_adds_all_read_and_the_oldest_run_comes_first(store: Store) -> None:
    await store.durations.exchange({SUNO: [a_run(2), a_run(3)]}, [])
    found = await store.durations.exchange({SUNO: [a_run(1)]}, [SUNO, "workflow/none"])
    assert decode_sketch(found[SUNO]) == [a_run(1), a_run(2), a_run(3)]
    assert found["workflow/none"] == []


async def test_a_sketch_keeps_the_newest_runs_and_no_more(store: Store) -> None:
    await store.durations.exchange({SUNO: [a_run(n) for n in range(MAX_SAMPLES)]}, [])
    await store.durations.exchange(
        {SUNO: [a_run(n) for n in range(MAX_SAMPLES, MAX_SAMPLES + 10)]}, []
    )
    found = await store.durations.read([SUNO])
    assert decode_sketch(found[SUNO]) == [a_run(n) for n in range(10, MAX_SAMPLES + 10)]
    assert len(found[SUNO]) == MAX_SAMPLES
    memory = await store.client.call("MEMORY", "USAGE", store.keys.durations(SUNO))
    assert memory < 8_192


async def test_a_target_that_is_not_used_is_forgotten(store: Store) -> None:
    await store.durations.exchange({SUNO: [a_run(1)]}, [])
    left = await store.client.call("TTL", store.keys.durations(SUNO))
    assert RETENTION_S - 60 < left <= RETENTION_S


async def test_what_cannot_be_read_is_passed_over(store: Store) -> None:
    await store.durations.exchange({SUNO: [sample_at(NOW, 3.0)]}, [])
    await store.client.call("LPUSH", store.keys.durations(SUNO), b"\xff", b"1:9:2", b"")
    found = await store.durations.read([SUNO])
    assert decode_sketch(found[SUNO]) == [sample_at(NOW, 3.0)]


async def test_an_exchange_is_one_round_trip(store: Store) -> None:
    class TripCounter(Client):
        trips = 0

        async def try_many(self, commands: object) -> list[object]:
            self.trips += 1
            return await super().try_many(commands)  # type: ignore[arg-type]

    client = TripCounter(store.client.redis)
    exchange = type(store.durations)(client, store.keys).exchange
    await exchange({SUNO: [a_run(1)], "model/b": [a_run(2)]}, [SUNO, "model/b", "model/c"])
    assert client.trips == 1
