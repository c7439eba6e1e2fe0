"""Schemas of stored records: older ones are migrated on read, newer ones are left untouched."""

import hashlib
from typing import Any, cast

import msgspec
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from config.values import ApiToken, Role
from jobs.batches import BatchRecord
from jobs.breakers import Breaker, BreakerCause, BreakerState, breaker_key
from jobs.budgets.record import Budget
from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import Callback
from jobs.evidence.records import UncertainSubmit
from jobs.holds import CoolDown, Hold, hold_id
from jobs.job import JOB_SCHEMA, Job
from jobs.lane_caps import LaneCap
from jobs.lanes import JobId, Scope
from jobs.newer import NEWER_SCHEMA, is_newer_gate
from jobs.rate_limits import RateLimitBucket
from jobs.schedules.record import Schedule
from jobs.states import Mode, State
from tests.store.redis_contents import everything
from tests.store.test_poll_claims import put, running
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, changed
from worker.api.auth.sessions import SessionRecord, Sessions
from worker.api.auth.tokens import ApiTokens
from worker.clock import SystemClock
from worker.engine.unreadable_records import load_job, load_jobs
from worker.store import Store
from worker.store.codec import decode_job, encode
from worker.store.jobs import NewerRecord
from worker.store.read.filter import Filter
from worker.store.schema import NewerRecordError, NewerSchema
from worker.store.webhooks import Orphan
from worker.store.workers import FORGET_AFTER_S, Heartbeat

SHAPES: dict[type[msgspec.Struct], tuple[int, str]] = {
    Job: (4, "e25054f6a952"),
    BatchRecord: (1, "4ba28f319e95"),
    Budget: (1, "286758592c1e"),
    Schedule: (1, "1bac8428736f"),
    LaneCap: (1, "48665cc12e97"),
    Hold: (1, "65b1828488b8"),
    CoolDown: (1, "5f45a1e41ff7"),
    Breaker: (1, "a7295a06c01b"),
    RateLimitBucket: (1, "e948038ad2ad"),
    Heartbeat: (1, "4a24854047c3"),
    Orphan: (1, "8df137f47cc4"),
    Callback: (1, "17e6c5b5ff3f"),
    CallbackBreaker: (1, "f7d114b29d06"),
    SessionRecord: (2, "828d08d1d639"),
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
    return msgspec.json.encode(
        msgspec.to_builtins(job) | {"schema": JOB_SCHEMA + 1, "shape": "new"} | members
    )


NEWER = {
    "a higher number": {},
    "a member that is not known": {"schema": JOB_SCHEMA},
    "one without a number": {"schema": 0},
    "one within": {"schema": JOB_SCHEMA, "shape": None, "reason": {"code": "X", "shape": "new"}},
    "one more in a row": {
        "schema": JOB_SCHEMA,
        "shape": None,
        "events": [[1.0, "enqueue", "", "", 7]],
    },
    "other types": {"id": 7, "events": "none", "target": ["a"]},
}


def newer_record(job: Job, kind: str) -> bytes:
    members = msgspec.to_builtins(job) | {"schema": JOB_SCHEMA + 1, "shape": "new"} | NEWER[kind]
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
    assert msgspec.json.decode(encode(job))["schema"] == JOB_SCHEMA


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


# Heartbeats, orphan deliveries and sessions.

BEAT = Heartbeat(id="w", host="h", pid=7, started_at=NOW, seen_at=NOW, polling=3)
ORPHAN = Orphan(execution_id="ex", event="run.completed", received_at=NOW, targets=("model/suno",))


def of_schema(record: msgspec.Struct, number: int | None, **members: Any) -> bytes:
    found = msgspec.to_builtins(record) | {"schema": number} | members
    return msgspec.json.encode({name: found[name] for name in found if found[name] is not None})


NEWER_MEMBERS = [
    pytest.param(2, {}, id="a higher number"),
    pytest.param(2, {"failures": 7, "cost": "much", "shape": 1}, id="other types"),
    pytest.param(1, {"shape": "new"}, id="a member that is not known"),
]


@pytest.mark.parametrize(("number", "members"), NEWER_MEMBERS)
async def test_a_newer_worker_is_shown_and_its_heartbeat_never_removed(
    store: Store, number: int, members: dict[str, Any]
) -> None:
    record = of_schema(BEAT, number, **members)
    await store.client.call("HSET", store.keys.workers, "w", record)
    before = await everything(store)
    assert await store.workers.heartbeats() == [BEAT]
    (found, *_) = (await store.workers.surroundings("w")).heartbeats
    assert found.takes_work
    await store.workers.remove_silent(NOW + 10 * FORGET_AFTER_S)
    assert await everything(store) == before
    await store.workers.record_heartbeat(BEAT)
    await store.workers.remove_silent(NOW + 10 * FORGET_AFTER_S)
    assert await store.workers.heartbeats() == [], "one of this version is"


async def test_a_newer_heartbeat_without_what_each_has_is_left_alone(store: Store) -> None:
    await store.client.call("HSET", store.keys.workers, "w", b'{"schema":2,"id":"w"}')
    before = await everything(store)
    assert await store.workers.heartbeats() == []
    await store.workers.remove_silent(NOW + 10 * FORGET_AFTER_S)
    assert await everything(store) == before


async def test_a_heartbeat_without_a_number_is_read(store: Store) -> None:
    await store.client.call("HSET", store.keys.workers, "w", of_schema(BEAT, None))
    assert await store.workers.heartbeats() == [BEAT]


@pytest.mark.parametrize(("number", "members"), NEWER_MEMBERS)
async def test_a_newer_orphan_is_shown_and_never_written(
    store: Store, number: int, members: dict[str, Any]
) -> None:
    await store.webhooks.receive("ex", ORPHAN.event, b"{}", NOW)
    (deliveries,) = await store.webhooks.claim(NOW, NOW + 10, 5)
    assert not deliveries.has_newer_orphan
    await store.webhooks.keep_orphan(ORPHAN, deliveries, NOW)
    record = of_schema(ORPHAN, number, **members)
    await store.client.call("HSET", store.keys.delivery("ex"), "orphan", record)
    (deliveries,) = await store.webhooks.claim(NOW, NOW + 10, 5)
    await store.webhooks.keep_orphan(ORPHAN, deliveries, NOW + 60)
    assert await store.client.call("HGET", store.keys.delivery("ex"), "orphan") == record
    assert await store.webhooks.orphans(NOW, NOW, 5) == [ORPHAN]
    assert await store.webhooks.claim(NOW + 59, NOW + 70, 5) == [], "it is due later"


async def test_an_orphan_without_a_number_is_read_and_written_anew(store: Store) -> None:
    await store.webhooks.receive("ex", ORPHAN.event, b"{}", NOW)
    await store.client.call(
        "HSET", store.keys.delivery("ex"), "orphan", of_schema(ORPHAN, None, status="old")
    )
    (deliveries,) = await store.webhooks.claim(NOW, NOW + 10, 5)
    await store.webhooks.keep_orphan(ORPHAN, deliveries, None)
    assert await store.webhooks.orphans(NOW, NOW, 5) == [ORPHAN]


@pytest.mark.parametrize(
    ("number", "members", "opens"),
    [(2, {}, ["ops"]), (3, {}, []), (2, {"scope": "jobs"}, [])],
)
async def test_a_newer_session_opens_nothing_and_stays(
    store: Store, number: int | None, members: dict[str, Any], opens: list[str]
) -> None:
    token = ApiToken("ops", Role.OPERATE, SecretStr("s" * 20))
    sessions = Sessions(store.sessions, ApiTokens([token], SystemClock()), SystemClock())
    secret = (await sessions.open(token)).secret
    (key,) = await store.client.call("KEYS", store.keys.session("*"))
    record = msgspec.json.decode(await store.client.call("GET", key), type=SessionRecord)
    await store.client.call("SET", key, of_schema(record, number, **members), "EX", 600)
    before = await everything(store)
    found = await sessions.find(secret)
    assert [session.token.name for session in (found,) if session] == opens
    assert await everything(store) == before


def test_the_error_names_both_numbers() -> None:
    with pytest.raises(
        NewerSchema, match=f"its schema is {JOB_SCHEMA + 1}, this version reads up to {JOB_SCHEMA}"
    ):
        decode_job(b'{"schema":%d}' % (JOB_SCHEMA + 1))
