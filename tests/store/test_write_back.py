"""A version that Redis lost is written back, unless another worker has sent the job meanwhile."""

import msgspec
from structlog.testing import capture_logs

from jobs.job import Job
from jobs.known_runs import SENT_EVENTS
from jobs.states import State
from tests.unit.core.job_builders import NOW, a_job, admitted, changed, running, submitted
from worker.engine.write_back import write_back
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.side_writes import SideWrites


def sent_later(job: Job) -> Job:
    """The job, sent by another worker some seconds later."""
    events = [
        msgspec.structs.replace(event, at=event.at + 9) if event.name in SENT_EVENTS else event
        for event in job.events
    ]
    return changed(job, events=tuple(events))


async def written(store: Store, *versions: Job) -> VersionedJob:
    """A job on record, changed from one version to the next."""
    stored = await store.jobs.create(a_job(), b"{}")
    for version in versions:
        assert stored is not None
        following = await store.jobs.commit(stored, version)
        assert isinstance(following, VersionedJob)
        stored = following
    assert stored is not None
    return stored


async def test_a_running_job_comes_back_and_is_polled_at_once(store: Store) -> None:
    ours = VersionedJob(changed(running(), next_poll_at=NOW + 600), "5.aa")
    found = await written(store)
    assert await write_back(store.jobs, found, ours, SideWrites(inputs=b'{"a":1}'), NOW + 10)
    now = await store.jobs.load("j1")
    assert now is not None
    assert (now.job.state, now.job.next_poll_at) == (State.RUNNING, NOW + 10)
    assert (await store.payloads.read("j1")).inputs == b'{"a":1}'
    claimed = await store.polls.claim(NOW + 10, NOW + 20, 5)
    assert [poll.stored.job.id for poll in claimed.polls] == ["j1"]


async def test_a_submit_whose_answer_another_worker_waits_for_is_left_and_both_are_shown(
    store: Store,
) -> None:
    """Both are paid for: the outcome of the later one must find its job."""
    ours = running()
    theirs = sent_later(submitted())
    found = await written(store, admitted(), theirs)
    with capture_logs() as logs:
        assert await write_back(
            store.jobs, found, VersionedJob(ours, "50.aa"), SideWrites(), NOW + 10
        )
    now = await store.jobs.load("j1")
    assert now is not None
    assert (now.job.state, now.job.submit_token) == (State.SUBMITTING, theirs.submit_token)
    assert "ex-1" in now.job.events[-1].note
    assert [line["other_ids"] for line in logs if line["event"] == "job.run_twice"] == [
        ["ex-1", "req-1"]
    ]


async def test_a_submit_of_ours_without_an_id_is_shown_too(store: Store) -> None:
    ours = submitted()
    found = await written(store, admitted(), sent_later(running()))
    with capture_logs() as logs:
        assert await write_back(
            store.jobs, found, VersionedJob(ours, "50.aa"), SideWrites(), NOW + 10
        )
    now = await store.jobs.load("j1")
    assert now is not None
    assert now.job.state is State.RUNNING
    assert "its id is not known" in now.job.events[-1].note
    assert "job.run_twice" in {line["event"] for line in logs}
