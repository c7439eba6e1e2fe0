"""Workers over HTTP: what they do, and how they are taken out of service."""

import pytest

from tests.api.checked_api import CheckedApi
from tests.store.redis_contents import latest_audit_entries
from worker.clock import SystemClock
from worker.store import Store
from worker.store.workers import Heartbeat


async def _live_worker(store: Store, worker_id: str = "host-1-ab12") -> Heartbeat:
    now = SystemClock().now()
    beat = Heartbeat(
        id=worker_id, host="host", pid=1, started_at=now - 60, seen_at=now, sync_runs=3
    )
    await store.workers.record_heartbeat(beat)
    return beat


async def test_a_worker_is_drained_by_its_id_and_that_is_on_record(
    api: CheckedApi, store: Store
) -> None:
    beat = await _live_worker(store)
    answer = await api.post(f"/v1/workers/{beat.id}/drain", {"note": "deploy 7"})
    assert answer.status == 200
    assert answer.json["drained"] is True
    assert answer.json["sync_runs"] == 3
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == ("drain", beat.id, "deploy 7")
    assert (await store.workers.surroundings(beat.id)).is_drained
    assert not (await store.workers.surroundings("host-1-cd34")).is_drained, "an id is one process"


async def test_a_drain_is_undone_and_that_is_on_record(api: CheckedApi, store: Store) -> None:
    beat = await _live_worker(store)
    path = f"/v1/workers/{beat.id}/drain"
    await api.post(path, {})
    answer = await api.delete(path, {"note": "the wrong one"})
    assert (answer.status, answer.json["drained"]) == (200, False)
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == ("undo_drain", beat.id, "the wrong one")
    assert not (await store.workers.surroundings(beat.id)).is_drained
    assert (await api.delete(path)).status == 200, "twice does no harm"
    assert (await api.delete("/v1/workers/none/drain")).status == 404


async def test_a_drain_ends_with_the_worker(api: CheckedApi, store: Store) -> None:
    beat = await _live_worker(store)
    await api.post(f"/v1/workers/{beat.id}/drain", {})
    await store.workers.remove(beat.id)
    assert not (await store.workers.surroundings(beat.id)).is_drained


@pytest.mark.parametrize("worker_id", ["none", "a/b", "%20"])
async def test_there_is_no_drain_of_no_worker(api: CheckedApi, worker_id: str) -> None:
    answer = await api.post(f"/v1/workers/{worker_id.replace('/', '%2F')}/drain", {})
    assert answer.status == 404
