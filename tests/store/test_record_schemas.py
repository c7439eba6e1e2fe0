"""Schemas of stored records: older ones are migrated on read, newer ones are left untouched."""

import hashlib
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs

from jobs.breakers import Breaker, BreakerCause, BreakerState, breaker_key
from jobs.evidence.records import UncertainSubmit
from jobs.holds import CoolDown, Hold, hold_id
from jobs.job import Job
from jobs.lanes import JobId, Scope
from jobs.newer import NEWER_SCHEMA, is_newer_gate
from jobs.rate_limits import RateLimitBucket
from jobs.states import Mode, State
from tests.store.redis_contents import everything
from tests.store.test_poll_claims import put, running
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, changed
from worker.engine.unreadable_records import load_job, load_jobs
from worker.store import Store
from worker.store.codec import decode_job, encode
from worker.store.jobs import NewerRecord
from worker.store.read.queries import Filter
from worker.store.schema import NewerRecordError, NewerSchema

SHAPES: dict[type[msgspec.Struct], tuple[int, str]] = {
    Job: (1, "09d94c19e3ba"),
    Hold: (1, "1544055a4adb"),
    CoolDown: (1, "5f45a1e41ff7"),
    Breaker: (1, "a7295a06c01b"),
    RateLimitBucket: (1, "e948038ad2ad"),
}
"""Each stored type: its schema, and a digest of the names and types of its members.

Where this fails, the type has changed. If a release has written the present number, give its class
the next one and add a migration to `worker/store/schema.py`. Write the new digest here.
"""


def shape(record_type: type[msgspec.Struct]) -> str:
    """A digest of a type's members, and of the types within."""

    def plain(found: object) -> object:
        if isinstance(found, dict):
            named = cast("dict[str, object]", found)
            return {name: plain(named[name]) for name in sorted(named) if name != "description"}
        return (
            [plain(one) for one in cast("list[object]", found)]
            if isinstance(found, list)
            else found
        )

    schema = plain(msgspec.json.schema(record_type))
    return hashlib.blake2s(msgspec.json.encode(schema), digest_size=6).hexdigest()


@pytest.mark.parametrize("record_type", SHAPES, ids=lambda found: found.__name__)
def test_a_change_of_a_stored_type_is_a_new_schema(record_type: type[msgspec.Struct]) -> None:
    assert (record_type.__struct_config__.tag, shape(record_type)) == SHAPES[record_type]


def newer(job: Job, **members: Any) -> bytes:
    """The record of a job as a newer version writes it."""
    return msgspec.json.encode(msgspec.to_builtins(job) | {"schema": 2, "shape": "new"} | members)


NEWER = {
    "a higher number": {},
    "a member that is not known": {"schema": 1},
    "one without a number": {"schema": 0},
    "one within": {"schema": 1, "shape": None, "reason": {"code": "X", "shape": "new"}},
    "one more in a row": {"schema": 1, "shape": None, "events": [[1.0, "enqueue", "", "", 7]]},
    "other types": {"id": 7, "events": "none", "target": ["a"]},
}


def newer_record(job: Job, kind: str) -> bytes:
    members = msgspec.to_builtins(job) | {"schema": 2, "shape": "new"} | NEWER[kind]
    return msgspec.json.encode({n: value for n, value in members.items() if value is not None})


@pytest.mark.parametrize("kind", NEWER)
async def test_a_newer_record_is_never_written(store: Store, kind: str) -> None:
    stored = await put(store, running("j", NOW))
    record = newer_record(stored.job, kind)
    await store.client.call("HSET", store.keys.job("j"), "rec", record)
    before = await everything(store)
    with capture_logs() as logs:
        assert await load_jobs(store.jobs, ["j"], NOW) == [None]
        with pytest.raises(NewerRecordError, match="written by a newer version"):
            await load_job(store.jobs, "j", NOW)
        assert await store.jobs.load("j") is None
        (found,) = await store.jobs.read_many(["j"])
        assert isinstance(found, NewerRecord)
        assert found.shown.id == "j"
        assert found.shown.state is State.RUNNING
        page = await store.read.queries.page(Filter(state=State.RUNNING), 5)
        assert [job.id for job in page.jobs] == ["j"]
        assert page.unreadable == ()
        await store.read.queries.lane_counts()
        await store.read.queries.groups(State.PARKED)
    assert [entry["event"] for entry in logs] in (["record.newer"], [])
    assert await everything(store) == before


async def test_a_newer_job_keeps_the_time_of_its_poll_and_others_are_claimed(store: Store) -> None:
    theirs, ours = [await put(store, running(name, NOW)) for name in ("a", "b")]
    await store.client.call("HSET", store.keys.job("a"), "rec", newer(theirs.job))
    before = await everything(store)
    assert (await store.polls.claim(NOW, NOW + 10, 1)).polls == []
    assert await everything(store) == before
    claim = await store.polls.claim(NOW, NOW + 10, 1)
    assert [poll.stored for poll in claim.polls] == [ours]
    assert claim.next_poll_at == NOW + 10, "the newer job wakes nobody"


async def test_a_newer_job_that_is_due_keeps_no_poller_busy(store: Store) -> None:
    theirs = await put(store, running("theirs", NOW))
    await store.client.call("HSET", store.keys.job("theirs"), "rec", newer(theirs.job))
    await store.polls.claim(NOW, NOW + 10, 5)
    assert (await store.polls.claim(NOW + 1, NOW + 11, 5)).next_poll_at is None


def test_a_record_without_a_number_is_migrated() -> None:
    submit = UncertainSubmit(number=1, mode=Mode.ASYNC, sent_at=NOW)
    job = changed(running("j", NOW), uncertain_submits=(submit,))
    members = msgspec.to_builtins(job)
    del members["schema"]
    members["uncertain_submits"][0]["resubmitted"] = True
    assert decode_job(msgspec.json.encode(members)) == job
    assert msgspec.json.decode(encode(job))["schema"] == 1


@pytest.mark.parametrize("number", [b'"two"', b"-1", b"1.5", b"null"])
def test_a_number_that_is_none_makes_a_record_unreadable(number: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_job(b'{"schema":%s,"id":"j"}' % number)


# Gates.

SCOPE = Scope("default/model/suno")
HOLD = Hold(id=hold_id(SCOPE, "X"), scope=SCOPE, code="X", created_at=NOW)
KEY = breaker_key(SCOPE, BreakerCause.TARGET_FAILURE)


async def put_newer_gates(store: Store) -> dict[str, Any]:
    keys = store.keys
    for key, field, record in (
        (keys.holds, HOLD.key, b'{"schema":2,"open":"no"}'),
        (keys.cool_downs, SCOPE, b'{"schema":2,"ends":7}'),
        (keys.breakers, KEY, b'7 {"schema":2,"is":"closed"}'),
        (keys.breakers, f"{SCOPE}|a_new_cause", b'7 {"schema":2,"is":"closed"}'),
        (keys.rate_limits, "default/model", b'{"schema":2,"calls":{}}'),
    ):
        await store.client.call("HSET", key, field, record)
    return await everything(store)


async def test_newer_gates_are_never_written(store: Store) -> None:
    before = await put_newer_gates(store)
    await store.holds.place(HOLD)
    assert await store.holds.change(HOLD.key, lambda _: None) is not None
    await store.holds.place_cool_down(CoolDown(SCOPE, NOW + 5))
    await store.holds.remove_expired_cool_downs(NOW + 1e9)
    await store.holds.remove_proved_open(NOW + 1e9)
    changed_breaker = await store.breakers.change(
        KEY, lambda found: msgspec.structs.replace(found, state=BreakerState.CLOSED)
    )
    assert not changed_breaker.is_visible
    for breaker in await store.breakers.list_all():
        await store.breakers.remove(breaker)
    assert await store.rate_limits.change(
        Scope("default/model"), lambda found: msgspec.structs.replace(found, limit=7)
    ) == RateLimitBucket(limit=7)
    await store.rate_limits.remove_stale(NOW + 1e9)
    assert await everything(store) == before


async def test_newer_gates_are_closed_and_say_why(store: Store) -> None:
    await put_newer_gates(store)
    gates = await store.holds.gates()
    lane = changed(job_builders.queued(id=JobId("q")), target="suno").lane
    hold, breaker = gates.closing_hold(lane), gates.open_breaker(lane)
    assert hold is not None
    assert (hold.id, is_newer_gate(hold)) == (HOLD.id, True)
    assert "written by a newer version" in hold.message
    assert breaker is not None
    assert (breaker.key, breaker.epoch, is_newer_gate(breaker)) == (KEY, 7, True)
    assert breaker.error is not None
    assert breaker.error.code == NEWER_SCHEMA
    assert not gates.admits(lane, NOW, bypass_hold=True)
    assert (await store.rate_limits.buckets())[Scope("default/model")] == RateLimitBucket()


async def test_gates_without_a_number_are_read(store: Store) -> None:
    """As versions before the first schema wrote them, with a mark at the end."""
    members = msgspec.to_builtins(HOLD)
    del members["schema"]
    record = msgspec.json.encode(members | {"mark": "01234567"})
    await store.client.call("HSET", store.keys.holds, HOLD.key, record)
    assert await store.holds.list_all() == [HOLD]


def test_the_error_names_both_numbers() -> None:
    with pytest.raises(NewerSchema, match="its schema is 3, this version reads up to 1"):
        decode_job(b'{"schema":3}')
