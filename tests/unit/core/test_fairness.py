"""Fair keys: names, and whose job comes next."""

import pytest

from jobs.fairness import fair_key_of, in_turns, key_queue_name
from jobs.indexes import Index, entries, waits_in_lane, watched_index
from jobs.job import Job
from jobs.lanes import JobId, has_fair_key, keyed_score, priority_of, queue_score, queued_at_of
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, a_job


def queue(name: str, count: int) -> list[tuple[JobId, float]]:
    return [(JobId(f"{name}{number}"), float(number)) for number in range(count)]


def names(*queues: tuple[str, int, int]) -> list[str]:
    """The order of queues, each a name, how many jobs it has and how many of them may go."""
    heads = [queue(name, count) for name, count, _ in queues]
    return [job_id for job_id, _ in in_turns(heads, [room for *_, room in queues])]


def test_keys_take_turns_one_job_each() -> None:
    assert names(("a", 3, 9), ("b", 1, 9), ("c", 2, 9)) == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert names() == []


def test_a_key_has_as_many_turns_as_its_cap_leaves_room_for() -> None:
    assert names(("a", 3, 1), ("b", 3, 0), ("c", 2, 2)) == ["a0", "c0", "c1"]


@pytest.mark.parametrize(
    ("job_id", "fair_key", "stored"),
    [("j", None, ""), ("j", "ann", "ann"), ("studio~j", "ann", "studio~ann"), ("s~j", None, "")],
)
def test_a_key_is_of_the_tenant_of_its_job(job_id: str, fair_key: str | None, stored: str) -> None:
    assert fair_key_of(a_job(id=job_id, fair_key=fair_key)) == stored


@pytest.mark.parametrize("priority", [-100, -1, 0, 7, 100])
@pytest.mark.parametrize("queued_at", [1e6, NOW, NOW + 1 / 4096, 4.2e9])
def test_a_score_in_a_lane_keeps_priority_and_age_exactly(priority: int, queued_at: float) -> None:
    score = queue_score(priority, queued_at)
    keyed = keyed_score(score)
    assert (has_fair_key(score), has_fair_key(keyed)) == (False, True)
    assert priority_of(keyed) == priority_of(score) == priority
    assert queued_at_of(keyed) == queued_at_of(score)
    assert keyed + 2**45 == score


def test_a_key_has_its_indexes_where_it_waits_and_where_it_runs() -> None:
    name = key_queue_name(a_job().lane, "ann")
    found = {
        build.__name__: {e.kind for e in entries(build(fair_key="ann")) if e.name == name}
        for build in (job_builders.queued, job_builders.admitted, job_builders.running)
    }
    active = {Index.KEY_ACTIVE}
    assert found == {"queued": {Index.KEY_QUEUE}, "admitted": active, "running": active}
    for job in (
        a_job(fair_key="ann", bypass_hold=True),
        a_job(fair_key="ann", waits_for_budget="b"),
        job_builders.uncertain(fair_key="ann"),
        job_builders.stuck(fair_key="ann"),
        job_builders.succeeded(fair_key="ann"),
    ):
        kinds = {entry.kind for entry in entries(job)}
        assert not kinds & {Index.KEY_QUEUE, Index.KEY_ACTIVE}, "parked jobs count in neither"
        assert Index.FAIR_KEY in kinds


@pytest.mark.parametrize(
    "job",
    [
        a_job(),
        a_job(bypass_hold=True),
        a_job(waits_for_budget="b"),
        job_builders.scheduled(),
        job_builders.running(),
        job_builders.dead(),
    ],
)
def test_a_job_waits_in_its_lane_where_admission_watches_it(job: Job) -> None:
    watched = watched_index(job)
    assert waits_in_lane(job) is (watched is not None and watched.kind is Index.LANE)
