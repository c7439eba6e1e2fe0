"""Jobs change during the check: no false finding, and no repair of a job that changed."""

import re
from typing import Any

import pytest
from redis.exceptions import ResponseError

from jobs import transitions
from jobs.indexes import Index
from jobs.job import Job
from jobs.lanes import JobId, queue_score
from jobs.outcomes import Accepted
from jobs.states import SETTLED, State
from tests.doctor.integrity_runs import LEASE_S, at_once, check_integrity, damage_of
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from tests.store.redis_contents import latest_audit_entries
from tests.unit.core import job_builders
from worker.app.action_table import JobAction
from worker.clock import SystemClock
from worker.doctor.integrity_check import IntegrityCheck
from worker.doctor.integrity_findings import DamageDetector, Suspicion
from worker.doctor.repair import Repairer, RepairOutcome
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.integrity import IntegrityReader, RepairStep
from worker.store.scripts import source

LANE = "default/model/suno"


async def test_an_integrity_check_of_a_busy_system_has_no_false_findings(
    system: LiveSystem,
) -> None:
    """300 jobs settle, some after faults, retries and operator actions, during repeated checks."""
    requests = [
        system.request(
            label=f"j{n}", tags=(f"t{n % 7}",), batch="b", priority=n % 3, **sandbox_options(n)
        )
        for n in range(300)
    ]
    results = await system.enqueuer.enqueue_many(
        [(JobId(f"j{n}"), request) for n, request in enumerate(requests)]
    )
    assert len(results) == 300
    checks = 0

    async def all_settled() -> bool:
        nonlocal checks
        report = await check_integrity(system.store, repair=True)
        assert damage_of(report) == []
        assert report.jobs == 300
        checks += 1
        for job_id in await system.store.jobs.members(Index.STATE, State.PARKED, 5):
            await system.actions.act(JobAction.DISCARD, job_id, OPERATOR)
        return set(await system.counts()) <= SETTLED

    async with system.worker():
        await wait_until(all_settled, "300 jobs settled", within_s=60)
    assert checks >= 5
    assert damage_of(await check_integrity(system.store)) == []
    assert all(
        act["act"] != "doctor.repair" for act in await latest_audit_entries(system.store, 1000)
    )


def sandbox_options(number: int) -> dict[str, Any]:
    """What the sandbox does with a job: most succeed, some fail once, some for ever."""
    match number % 20:
        case 0:
            return {"fault": "EXECUTION_FAILED", "times": 1}
        case 1:
            return {"fault": "INVALID_INPUTS"}
        case 2:
            return {"fault": "HTTP_502"}
        case _:
            return {"duration_s": 0.1 + (number % 7) / 10}


@pytest.mark.parametrize("place", ["lane", "lease", "inflight", "due"])
async def test_a_lost_job_goes_on_and_finishes_once_it_was_put_back(
    system: LiveSystem, place: str
) -> None:
    job_id = await system.enqueue(label="lost")
    stored = await system.store.jobs.load(job_id)
    assert stored is not None
    job, now, keys = stored.job, SystemClock().now(), system.store.keys
    key = keys.index(Index(place), str(job.lane) if place == "lane" else "")
    if place == "due":
        job_id = await system.enqueue(label="late", delay_s=0.2)
    elif place != "lane":
        admitted = transitions.admit(
            job, now, submit_token="gone", lease_until=now - 1, opening_hold_ids=()
        )
        if place == "inflight":
            admitted = transitions.send(admitted, now, owner="gone", lease_until=now)
            started = await started_run(system)
            answer = Accepted(started, None)
            admitted = transitions.accept(admitted, now, answer, next_poll_at=now)
        assert isinstance(await system.store.jobs.commit(stored, admitted), VersionedJob)
    assert await system.store.client.call("ZREM", key, job_id) == 1

    clock = SystemClock()
    mender = Repairer(system.store, clock, by="ann")
    report = await IntegrityCheck(system.store, clock, lease_s=0.1, repairer=mender).run()
    assert damage_of(report) == [("lost", job_id, "repaired")]
    if place in ("lane", "due"):  # it could have a run that its record does not show
        assert (await system.job(job_id)).state is State.PARKED
        await system.actions.act(JobAction.RELEASE, job_id, OPERATOR)
    async with system.worker():
        assert (await system.until(job_id)).state is State.SUCCEEDED
    assert damage_of(await check_integrity(system.store)) == []


async def started_run(system: LiveSystem) -> str:
    """A run that the provider has."""
    body = {"inputs": {"product_image": "x", "sandbox": {"duration_s": 0.05}}}
    url = f"{system.sandbox_url}/api/models/gpt-image-2/run?async=true"
    key = {"x-api-key": "knouds_live_sandbox"}
    async with system.http.post(url, json=body, headers=key) as answer:
        return str((await answer.json())["executionId"])


async def create(store: Store, job: Job) -> Job:
    assert await store.jobs.create(job, b"{}")
    return job


async def advance(store: Store, job_id: str) -> None:
    stored = await store.jobs.load(job_id)
    assert stored is not None
    parked = transitions.park_manual(stored.job, job_builders.NOW, by="ann")
    assert isinstance(await store.jobs.commit(stored, parked), VersionedJob)


async def test_a_job_that_changed_after_it_was_checked_is_left_alone(store: Store) -> None:
    job = await create(store, job_builders.a_job())
    await store.client.call("ZREM", store.keys.lane(job.lane), job.id)
    suspicion = Suspicion(job.id, Index.LANE, LANE, store.keys.lane(job.lane))
    read = (
        await IntegrityReader(store.client, store.keys).read_with_scores({job.id: [suspicion.key]})
    )[job.id]
    damage = DamageDetector(store.keys, job_builders.NOW, LEASE_S).detect(suspicion, read)
    assert damage is not None
    await advance(store, job.id)
    assert await Repairer(store, SystemClock(), by="ann").repair(damage) is RepairOutcome.MOVED
    assert await store.client.call("ZCARD", suspicion.key) == 0
    assert await latest_audit_entries(store, 5) == []


async def test_an_entry_whose_job_came_to_be_is_left_alone(store: Store) -> None:
    lane = store.keys.lane(job_builders.a_job().lane)
    await store.client.call("ZADD", lane, 1, "j1")
    suspicion = Suspicion("j1", Index.LANE, LANE, lane)
    read = (await IntegrityReader(store.client, store.keys).read_with_scores({"j1": [lane]}))["j1"]
    damage = DamageDetector(store.keys, job_builders.NOW, LEASE_S).detect(suspicion, read)
    assert damage is not None
    await create(store, job_builders.a_job())
    assert await Repairer(store, SystemClock(), by="ann").repair(damage) is RepairOutcome.MOVED
    assert await store.client.call("ZCARD", lane) == 1


async def test_what_heals_between_two_passes_is_not_reported(store: Store) -> None:
    """Only a suspicion that every pass confirms is damage."""
    job = await create(store, job_builders.a_job())
    lane = store.keys.lane(job.lane)
    await store.client.call("ZREM", lane, job.id)

    async def heal(seconds: float) -> None:
        score = queue_score(job.priority, job.queued_at or 0.0)
        await store.client.call("ZADD", lane, score, job.id)
        await at_once(seconds)

    report = await IntegrityCheck(store, SystemClock(), lease_s=LEASE_S, pause=heal).run()
    assert damage_of(report) == []


async def test_a_job_that_is_deleted_while_it_is_read_is_no_damage(store: Store) -> None:
    """The record was read before the job was deleted with its index entries."""
    reader = IntegrityReader(store.client, store.keys)
    job = await create(store, job_builders.succeeded())
    stored = await store.jobs.load(job.id)
    assert stored is not None
    assert await store.jobs.delete(stored)
    key = store.keys.index(Index.ALL)
    read = (await reader.read_with_scores({job.id: [key]}))[job.id]
    detector = DamageDetector(store.keys, job_builders.NOW, LEASE_S)
    assert detector.detect(Suspicion(job.id, Index.ALL, "", key), read) is None


# The script.


def test_the_script_says_what_it_does() -> None:
    text = source("repair")
    head = " ".join(
        line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")
    )
    assert re.fullmatch(r"[A-Z].+ KEYS: 1 .+ ARGV: 1 .+ Returns: .+", head)
    assert 10 <= len(text.splitlines()) <= 70
    code = [line for line in text.splitlines() if not line.startswith("--")]
    keys = re.findall(r'redis\.call\("\w+", ([^,)]+)', "\n".join(code))
    assert keys
    assert all(key in ("KEYS[1]", "key") for key in keys)


@pytest.mark.parametrize(
    ("expected", "done"), [("", False), ("*", True), ("7.a", True), ("7.b", False)]
)
async def test_a_step_names_its_precondition(
    store: Store, namespace: str, expected: str, *, done: bool
) -> None:
    watched, index = f"{namespace}:job:x", f"{namespace}:due"
    await store.client.call("HSET", watched, "rev", "7.a")
    step = RepairStep(watched, expected, (("A", index, 5.0, "x"),))
    assert await IntegrityReader(store.client, store.keys).repair(step) is done
    assert await store.client.call("ZSCORE", index, "x") == (5.0 if done else None)


@pytest.mark.parametrize(("expected", "done"), [("", True), ("*", False), ("7.a", False)])
async def test_a_step_can_ask_for_nothing_to_be_there(
    store: Store, namespace: str, expected: str, *, done: bool
) -> None:
    index = f"{namespace}:due"
    step = RepairStep(
        f"{namespace}:job:x", expected, (("N", index, 5.0, "x"), ("R", index, 0.0, "y"))
    )
    assert await IntegrityReader(store.client, store.keys).repair(step) is done


async def test_a_step_adds_what_is_missing_and_leaves_what_is_there(
    store: Store, namespace: str
) -> None:
    index = f"{namespace}:due"
    await store.client.call("ZADD", index, 1, "x", 1, "y", 1, "z")
    steps = (("N", index, 5.0, "x"), ("A", index, 5.0, "y"), ("R", index, 0.0, "z"))
    assert await IntegrityReader(store.client, store.keys).repair(
        RepairStep(f"{namespace}:none", "", steps)
    )
    assert await store.client.call("ZMSCORE", index, "x", "y", "z") == [1.0, 5.0, None]


async def test_an_unknown_operation_is_refused(store: Store, namespace: str) -> None:
    step = RepairStep(f"{namespace}:none", "", (("X", f"{namespace}:due", 5.0, "x"),))
    with pytest.raises(ResponseError, match="unknown operation"):
        await IntegrityReader(store.client, store.keys).repair(step)
