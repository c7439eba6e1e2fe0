"""What a commit adds to the ledger, in the step that writes the record."""

import pytest

from jobs import transitions
from jobs.credits import charges
from jobs.credits.charges import KEPT_S, MICRO, Dimension, Measure, day_of
from jobs.job import Job
from jobs.outcomes import Finished
from tests.store.test_poll_claims import put
from tests.unit.core import job_builders as build
from tests.unit.core.job_builders import NOW
from worker.store import Store, commit
from worker.store.commit import VersionedJob

DAY = day_of(NOW)


def paid(job: Job, cost: float = 2.5) -> Job:
    return transitions.succeed(job, NOW, Finished(b"{}", cost=cost))


async def sums(
    store: Store, dimension: Dimension = Dimension.LANE
) -> dict[tuple[str, Measure], int]:
    found = [one async for one in store.ledger.sums([DAY], dimension)]
    return {(one.name, one.measure): one.amount for one in found}


async def test_a_cost_is_added_once_however_often_it_is_written(store: Store) -> None:
    """Two workers report one end; one write wins, and only that is in the sums."""
    stored = await put(store, build.running(id="j"))
    first = await store.jobs.commit(stored, paid(stored.job))
    second = await store.jobs.commit(stored, paid(stored.job))
    assert isinstance(first, VersionedJob)
    assert not isinstance(second, VersionedJob)
    assert await sums(store) == {
        ("default/model/suno", Measure.CREDITS): 2_500_000,
        ("default/model/suno", Measure.CHARGES): 1,
    }


async def test_costs_written_together_add_up_exactly(store: Store) -> None:
    """A tenth of a credit, a thousand times, is a hundred credits."""
    jobs = [build.running(id=f"j{n}") for n in range(100)]
    for job in jobs:
        stored = await put(store, job)
        await store.jobs.commit(stored, paid(job, 0.1))
    assert (await sums(store))["default/model/suno", Measure.CREDITS] == 10 * MICRO


async def test_the_sums_outlive_their_job_and_end_a_year_later(store: Store) -> None:
    stored = await put(store, build.running(id="j"))
    written = await store.jobs.commit(stored, paid(stored.job))
    assert isinstance(written, VersionedJob)
    assert await store.jobs.delete(written)
    assert await sums(store)
    key = store.keys.ledger(DAY, Dimension.LANE, Measure.CREDITS)
    assert KEPT_S - 60 < await store.client.call("TTL", key) <= KEPT_S


async def test_names_beyond_the_limit_of_a_day_are_added_to_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {**charges.MAX_NAMES, Dimension.TAG: 3}
    monkeypatch.setattr(commit, "MAX_NAMES", limits)
    for number in range(5):
        job = build.running(id=f"j{number}", tags=(f"tag-{number}",))
        await store.jobs.commit(await put(store, job), paid(job))
    again = build.running(id="again", tags=("tag-1",))
    await store.jobs.commit(await put(store, again), paid(again))
    found = await sums(store, Dimension.TAG)
    added = {name: n for (name, measure), n in found.items() if measure is Measure.CREDITS}
    assert added == {
        "tag-0": 2_500_000,
        "tag-1": 5_000_000,
        "tag-2": 2_500_000,
        "other": 5_000_000,
    }


async def test_a_sum_that_cannot_be_written_loses_no_end_of_a_run(store: Store) -> None:
    """Whoever broke the ledger gets an error; the record has the end of the run."""
    stored = await put(store, build.running(id="j"))
    key = store.keys.ledger(DAY, Dimension.LANE, Measure.CREDITS)
    await store.client.call("SET", key, "no hash")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await store.jobs.commit(stored, paid(stored.job))
    loaded = await store.jobs.load("j")
    assert loaded is not None
    assert loaded.job.state.value == "succeeded"
