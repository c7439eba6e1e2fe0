"""A run belongs to one job: no other record can get its execution id."""

import asyncio

import pytest

from jobs import transitions
from jobs.outcomes import Accepted, Finished
from tests.unit.core.job_builders import NOW, submitted
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused


async def accept(store: Store, job_id: str, run: str) -> VersionedJob | CommitRefused:
    """Write that the run of a new job was accepted."""
    stored = await store.jobs.create(submitted(id=job_id), b"{}")
    assert stored is not None
    job = transitions.accept(stored.job, NOW, Accepted(run), next_poll_at=NOW)
    return await store.jobs.commit(stored, job)


async def end(store: Store, stored: VersionedJob | CommitRefused) -> None:
    assert isinstance(stored, VersionedJob)
    ended = transitions.succeed(stored.job, NOW, Finished(b"[1]"))
    assert isinstance(await store.jobs.commit(stored, ended), VersionedJob)


@pytest.mark.parametrize("is_ended", [True, False])
async def test_the_first_job_keeps_the_run_also_once_it_has_ended(
    store: Store, *, is_ended: bool
) -> None:
    first = await accept(store, "j1", "run-1")
    if is_ended:
        await end(store, first)
    assert await accept(store, "j2", "run-1") is CommitRefused.RUN_TAKEN
    assert await store.webhooks.run_owner("run-1") == "j1"
    second = await store.jobs.load("j2")
    assert second is not None
    assert second.job.execution_id is None
    assert isinstance(await accept(store, "j3", "run-3"), VersionedJob)


async def test_of_jobs_that_are_written_at_once_one_gets_the_run(store: Store) -> None:
    written = await asyncio.gather(*(accept(store, f"j{n}", "run-1") for n in range(8)))
    assert written.count(CommitRefused.RUN_TAKEN) == 7


async def test_a_run_that_goes_on_for_long_stays_its_jobs(store: Store) -> None:
    await accept(store, "j1", "run-1")
    await store.client.call("DEL", store.keys.run_owner("run-1"))
    assert await accept(store, "j2", "run-1") is CommitRefused.RUN_TAKEN
    assert await store.webhooks.run_owner("run-1") == "j1"


async def test_a_job_can_get_its_own_run_again(store: Store) -> None:
    stored = await accept(store, "j1", "run-1")
    assert isinstance(stored, VersionedJob)
    parked = transitions.park_uncertain(stored.job, NOW, why="lost", cause="lost_connection")
    parked_ = await store.jobs.commit(stored, parked)
    assert isinstance(parked_, VersionedJob)
    queued = await store.jobs.commit(parked_, transitions.resubmit(parked, NOW, by="ann"))
    assert isinstance(queued, VersionedJob)
    assert queued.job.execution_id is None
    again = transitions.admit(
        queued.job, NOW, submit_token="h2", lease_until=NOW + 30, opening_hold_ids=()
    )
    admitted = await store.jobs.commit(queued, again)
    assert isinstance(admitted, VersionedJob)
    sent = transitions.send(admitted.job, NOW, owner="w", lease_until=NOW + 30)
    sent_ = await store.jobs.commit(admitted, sent)
    assert isinstance(sent_, VersionedJob)
    accepted = transitions.accept(sent, NOW, Accepted("run-1"), next_poll_at=NOW)
    assert isinstance(await store.jobs.commit(sent_, accepted), VersionedJob)
