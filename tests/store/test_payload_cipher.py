"""Payloads at rest: encrypted under the first key, read under every key, bound to their job."""

from collections import Counter

import pytest
from arq import ArqRedis
from structlog.testing import capture_logs

from jobs.job import Job
from jobs.lanes import JobId
from jobs.payloads import MissingPayload
from jobs.requests import JobRequest, new_job
from jobs.states import Kind
from tests.unit.core.test_schedule_due import a_schedule
from worker.store import Store, open_store
from worker.store.payload_cipher import MAGIC, PLAIN_KEY, PayloadCipher, UnreadablePayload, key_id
from worker.store.payload_rewrap import PayloadRewrap
from worker.store.side_writes import SideWrites

OLD, NEW, OTHER = (bytes([n]) * 32 for n in (1, 2, 3))
INPUTS, RESULT = b'{"prompt":"a secret cat"}', b'{"url":"https://x/secret"}'


def job_named(job_id: str) -> Job:
    request = JobRequest(kind=Kind.MODEL, target="suno", inputs=INPUTS)
    return new_job(request, JobId(job_id), 1.0, max_attempts=5, deadline_s=60.0)


async def write_job(store: Store, job_id: str = "j") -> None:
    stored = await store.jobs.create(job_named(job_id), INPUTS)
    assert stored is not None
    await store.jobs.commit(stored, stored.job, SideWrites(result=RESULT))


async def raw(store: Store, field: str, job_id: str = "j") -> bytes:
    found: bytes = await store.client.call("HGET", store.keys.job(job_id), field)
    return found


@pytest.fixture
async def plain(redis: ArqRedis, namespace: str) -> Store:
    opened = open_store(redis, namespace)
    assert await opened.recovery.until_ready()
    return opened


def with_keys(store: Store, *keys: bytes) -> Store:
    namespace = store.keys.namespace
    return open_store(store.client.redis, namespace, cipher=PayloadCipher(keys))


async def test_without_keys_the_stored_bytes_are_those_given(plain: Store) -> None:
    await write_job(plain)
    assert (await raw(plain, "inputs"), await raw(plain, "result")) == (INPUTS, RESULT)


async def test_with_a_key_nothing_of_a_payload_is_in_redis(plain: Store) -> None:
    store = with_keys(plain, NEW)
    await write_job(store)
    for field in ("inputs", "result"):
        stored = await raw(store, field)
        assert stored.startswith(MAGIC + key_id(NEW).encode())
        assert b"secret" not in stored
    found = await store.payloads.read("j")
    assert (found.inputs, found.result) == (INPUTS, RESULT)
    ((_, inputs),) = [row for row in await store.jobs.read_with_inputs(["j"]) if row]
    assert inputs == INPUTS


async def test_jobs_stored_before_keys_were_set_are_readable_while_plain_is_a_key(
    plain: Store,
) -> None:
    await write_job(plain)
    found = await with_keys(plain, NEW, PLAIN_KEY).payloads.read("j")
    assert (found.inputs, found.result) == (INPUTS, RESULT)


async def test_plain_payloads_in_the_place_of_encrypted_ones_are_not_believed(
    plain: Store,
) -> None:
    store = with_keys(plain, NEW)
    await write_job(store)
    key = store.keys.job("j")
    await store.client.call("HSET", key, "inputs", b'{"prompt":"bad"}', "result", b'{"url":"bad"}')
    found = await store.payloads.read("j")
    assert (found.inputs, found.result) == (None, None)
    assert (found.inputs_problem, found.result_problem) == (MissingPayload.KEY_LOST,) * 2
    ((_, inputs),) = [row for row in await store.jobs.read_with_inputs(["j"]) if row]
    assert inputs is MissingPayload.KEY_LOST
    report = await PayloadRewrap(store.payloads, store.jobs, store.webhooks, store.schedules).run()
    assert (report.rewritten, report.remaining) == (0, 2)
    assert report.unreadable == Counter({"plain": 2})
    assert await raw(store, "inputs") == b'{"prompt":"bad"}'


async def test_the_inputs_of_schedules_are_rewritten_under_the_first_key(plain: Store) -> None:
    schedule = a_schedule()
    await plain.schedules.change(schedule.name, lambda _: schedule, INPUTS)
    both, new = with_keys(plain, NEW, PLAIN_KEY), with_keys(plain, NEW)
    assert await new.schedules.inputs(schedule.name) is None
    report = await PayloadRewrap(both.payloads, both.jobs, both.webhooks, both.schedules).run()
    assert (report.rewritten, report.remaining) == (1, 0)
    assert await new.schedules.inputs(schedule.name) == INPUTS
    assert await plain.schedules.inputs(schedule.name) is None


async def test_a_plain_delivery_among_encrypted_ones_has_no_body(plain: Store) -> None:
    store = with_keys(plain, NEW)
    await plain.webhooks.receive("e1", "workflow.completed", RESULT, 5.0)
    with capture_logs() as logs:
        (run,) = await store.webhooks.claim(6.0, 6.5, 10)
        assert run.deliveries[0].body == b""
        assert [one["event"] for one in logs] == ["payload.unreadable"]
        await store.webhooks.erase_bodies(["e1"])
        (run,) = await store.webhooks.claim(7.0, 7.5, 10)
    assert (run.deliveries[0].body, len(logs)) == (b"", 1), "an erased body is no unreadable one"


async def test_plain_before_a_key_reads_both_and_encrypts_nothing(plain: Store) -> None:
    store = with_keys(plain, PLAIN_KEY, NEW)
    await write_job(with_keys(plain, NEW), "sealed")
    await write_job(store, "new")
    assert await raw(store, "inputs", "new") == INPUTS
    for job_id in ("sealed", "new"):
        assert (await store.payloads.read(job_id)).inputs == INPUTS
    await PayloadRewrap(store.payloads, store.jobs, store.webhooks, store.schedules).run()
    assert await raw(store, "inputs", "sealed") == INPUTS


async def test_a_process_knows_which_keys_in_use_it_lacks_until_nothing_is_under_them(
    plain: Store,
) -> None:
    await write_job(plain)
    await plain.payloads.report_key()
    store = with_keys(plain, NEW)
    assert await store.payloads.find_lacking() == {"plain"}
    rollout = with_keys(plain, NEW, PLAIN_KEY)
    assert not await rollout.payloads.find_lacking()
    await rollout.payloads.report_key()
    assert await plain.payloads.find_lacking() == {key_id(NEW)}
    rewrap = PayloadRewrap(rollout.payloads, rollout.jobs, rollout.webhooks, rollout.schedules)
    await rewrap.run(dry_run=True)
    assert await store.payloads.find_lacking() == {"plain"}
    await rewrap.run()
    assert not await store.payloads.find_lacking()
    assert plain.payloads.lacking == {key_id(NEW)}


async def test_every_key_decrypts_and_the_first_encrypts(plain: Store) -> None:
    await write_job(with_keys(plain, OLD), "old")
    rotated = with_keys(plain, NEW, OLD)
    await write_job(rotated, "new")
    assert key_id(NEW).encode() in await raw(plain, "inputs", "new")
    for job_id in ("old", "new"):
        assert (await rotated.payloads.read(job_id)).inputs == INPUTS


@pytest.mark.parametrize("keys", [(), (OTHER,)], ids=["no key", "another key"])
async def test_without_its_key_a_payload_is_a_state_and_no_crash(
    plain: Store, keys: tuple[bytes, ...]
) -> None:
    await write_job(with_keys(plain, OLD))
    store = with_keys(plain, *keys)
    found = await store.payloads.read("j")
    assert (found.inputs, found.result) == (None, None)
    assert (found.inputs_problem, found.result_problem) == (MissingPayload.KEY_LOST,) * 2
    ((_, inputs),) = [row for row in await store.jobs.read_with_inputs(["j"]) if row]
    assert inputs is MissingPayload.KEY_LOST
    assert await store.payloads.missing_inputs(["j"]) == {"j": MissingPayload.KEY_LOST}


@pytest.mark.parametrize(
    ("from_job", "from_field", "to_job", "to_field"),
    [
        ("a", "inputs", "b", "inputs"),
        ("a", "result", "a", "inputs"),
        ("a", "inputs", "b", "result"),
    ],
)
async def test_a_payload_that_was_moved_cannot_be_read(
    plain: Store, from_job: str, from_field: str, to_job: str, to_field: str
) -> None:
    store = with_keys(plain, NEW)
    await write_job(store, "a")
    await write_job(store, "b")
    moved = await raw(store, from_field, from_job)
    await store.client.call("HSET", store.keys.job(to_job), to_field, moved)
    found = await store.payloads.read(to_job)
    problems = {"inputs": found.inputs_problem, "result": found.result_problem}
    assert problems[to_field] is MissingPayload.KEY_LOST


@pytest.mark.parametrize("at", [0, 12, 30, -1])
def test_a_changed_payload_cannot_be_read(at: int) -> None:
    cipher = PayloadCipher([NEW])
    sealed = bytearray(cipher.seal("k:j:inputs", INPUTS))
    sealed[at] ^= 1
    with pytest.raises(UnreadablePayload):
        cipher.open("k:j:inputs", bytes(sealed))


@pytest.mark.parametrize("size", range(len(MAGIC), 45))
def test_a_payload_that_was_cut_short_is_unreadable(size: int) -> None:
    cipher = PayloadCipher([NEW])
    with pytest.raises(UnreadablePayload):
        cipher.open("p", cipher.seal("p", b"{}" * 10)[:size])


async def test_rewrap_leaves_nothing_under_older_keys_or_plain(plain: Store) -> None:
    await write_job(plain, "plain")
    await write_job(with_keys(plain, OLD), "old")
    await write_job(with_keys(plain, OTHER), "lost")
    await with_keys(plain, OLD).webhooks.receive("e1", "workflow.completed", RESULT, 5.0)
    store = with_keys(plain, NEW, OLD, PLAIN_KEY)
    await write_job(store, "new")
    rewrap = PayloadRewrap(store.payloads, store.jobs, store.webhooks, store.schedules)
    before = await rewrap.run(dry_run=True)
    assert (before.rewritten, before.remaining) == (0, 7)
    report = await rewrap.run()
    assert report.found == {"plain": 2, key_id(OLD): 3, key_id(OTHER): 2, key_id(NEW): 2}
    assert (report.rewritten, report.remaining) == (5, 2)
    assert report.unreadable == Counter({key_id(OTHER): 2})
    rotated = with_keys(plain, NEW)
    for job_id in ("plain", "old", "new"):
        assert (await rotated.payloads.read(job_id)).inputs == INPUTS
    (run,) = await rotated.webhooks.claim(6.0, 7.0, 10)
    assert (run.deliveries[0].body, run.deliveries[0].received_at) == (RESULT, 5.0)
    assert (
        await PayloadRewrap(
            rotated.payloads, rotated.jobs, rotated.webhooks, rotated.schedules
        ).run()
    ).rewritten == 0


async def test_deliveries_are_encrypted_and_without_the_key_they_have_no_body(
    plain: Store,
) -> None:
    store = with_keys(plain, NEW)
    await store.webhooks.receive("e1", "workflow.completed", RESULT, 5.0)
    raw_fields = await store.client.call("HGETALL", store.keys.delivery("e1"))
    assert not [value for value in raw_fields.values() if b"secret" in value]
    (run,) = await store.webhooks.claim(6.0, 6.5, 10)
    assert run.deliveries[0].body == RESULT
    (run,) = await plain.webhooks.claim(8.0, 9.0, 10)
    assert (run.deliveries[0].body, run.deliveries[0].received_at) == (b"", 5.0)


async def test_inputs_under_a_lost_key_come_back_with_the_same_request(plain: Store) -> None:
    await write_job(with_keys(plain, OTHER))
    store = with_keys(plain, NEW)
    stored = await store.jobs.load("j")
    assert stored is not None
    await store.jobs.commit(stored, stored.job, SideWrites(inputs=INPUTS))
    assert (await store.payloads.read("j")).inputs == INPUTS


@pytest.mark.parametrize("damaged", [b"", b"not json", b"[1]", b'{"a":1', b"null"])
async def test_inputs_that_are_no_object_are_lost(store: Store, damaged: bytes) -> None:
    """A submit puts them into its body as they are, and would be paid for."""
    await store.jobs.create(job_named("j"), b'{"prompt":"a cat"}')
    await store.client.call("HSET", store.keys.job("j"), "inputs", damaged)
    payloads = await store.payloads.read("j")
    assert (payloads.inputs, payloads.inputs_problem) == (None, MissingPayload.LOST)
    ((_, inputs),) = [row for row in await store.jobs.read_with_inputs(["j"]) if row]
    assert inputs is MissingPayload.LOST
    assert await store.payloads.missing_inputs(["j"]) == {"j": MissingPayload.LOST}


async def test_inputs_that_were_moved_count_as_missing(store: Store) -> None:
    """So that the same request restores them: their key is there, and does not read them."""
    sealed = with_keys(store, NEW)
    for name in ("j", "other"):
        await sealed.jobs.create(job_named(name), b'{"prompt":"a cat"}')
    assert await sealed.payloads.missing_inputs(["j"]) == {}
    moved = await store.client.call("HGET", store.keys.job("other"), "inputs")
    await store.client.call("HSET", store.keys.job("j"), "inputs", moved)
    assert await sealed.payloads.missing_inputs(["j"]) == {"j": MissingPayload.KEY_LOST}


async def test_metadata_are_encrypted_and_rewrapped_as_inputs_are(plain: Store) -> None:
    metadata = b'{"customer":"secret"}'
    old = with_keys(plain, OLD)
    assert await old.jobs.create(job_named("j"), INPUTS, metadata)
    assert (await raw(old, "metadata")).startswith(MAGIC)
    assert await old.payloads.metadata(["j", "other"]) == {"j": metadata}
    new = with_keys(plain, NEW, OLD)
    report = await PayloadRewrap(new.payloads, new.jobs, new.webhooks, new.schedules).run()
    assert report.rewritten == 2
    assert await with_keys(plain, NEW).payloads.metadata(["j"]) == {"j": metadata}
    assert not await with_keys(plain, OTHER).payloads.metadata(["j"])
