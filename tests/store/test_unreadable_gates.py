"""Gates whose record cannot be read: a hold stays closed, all else opens, and each is named."""

import pytest
from structlog.testing import capture_logs

from jobs.breakers import BreakerCause, BreakerState, breaker_key
from jobs.holds import apply_accept
from jobs.lanes import Lane, Scope
from jobs.newer import ACTION_NEWER
from jobs.states import Kind
from tests.store.test_hold_store import a_hold
from tests.unit.core.job_builders import NOW
from worker.doctor.findings import Level
from worker.doctor.gates import check_gates
from worker.store import Store
from worker.store.codec import encode_unique

LANE = Lane("default", Kind.MODEL, "suno")
SCOPE = Scope("default/model/suno")
BREAKER = breaker_key(SCOPE, BreakerCause.TARGET_FAILURE)

RECORD = encode_unique(a_hold(SCOPE))
DAMAGED = {
    "cut off": RECORD[:40],
    "a null time": RECORD.replace(b'"created_at":1', b'"created_at":null,"x":1'),
    "a negative schema": RECORD.replace(b'"schema":1', b'"schema":-1'),
    "empty": b"",
    "no text": b"\xff\xfe",
}


async def damage(store: Store, record: bytes, key: str = f"{SCOPE}|X") -> None:
    await store.client.call("HSET", store.keys.holds, key, record)


@pytest.mark.parametrize("kind", DAMAGED)
async def test_an_unreadable_hold_stays_closed_and_is_named(store: Store, kind: str) -> None:
    await damage(store, DAMAGED[kind])
    gates = await store.holds.gates()
    assert not gates.admits(LANE, NOW)
    (hold,) = await store.holds.list_all()
    assert f"{SCOPE}|X" in hold.message
    assert "release" in hold.action
    (finding,) = await check_gates(store)
    assert (finding.level, f"{SCOPE}|X" in finding.text) == (Level.FAIL, True)
    assert hold.id in finding.fix


async def test_an_accepted_submit_and_the_sweep_leave_it(store: Store) -> None:
    await damage(store, DAMAGED["cut off"])
    await store.holds.change(f"{SCOPE}|X", lambda found: apply_accept(found) if found else None)
    await store.holds.remove_proved_open(NOW + 1e9)
    assert await store.client.call("HGET", store.keys.holds, f"{SCOPE}|X") == RECORD[:40]


async def test_a_refusal_writes_it_anew(store: Store) -> None:
    await damage(store, DAMAGED["cut off"])
    assert await store.holds.place(a_hold(SCOPE)) == a_hold(SCOPE)
    assert await store.holds.list_all() == [a_hold(SCOPE)]


async def test_it_is_logged_once(store: Store) -> None:
    await damage(store, b'{"schema":1,"logged":', "default/model/logged|X")
    with capture_logs() as logs:
        await store.holds.gates()
        await store.holds.list_all()
    assert [(one["event"], one["field"]) for one in logs] == [
        ("gate.unreadable", "default/model/logged|X")
    ]


@pytest.mark.parametrize("record", [b"{", b'{"schema":-1}'])
async def test_an_unreadable_breaker_is_closed_with_its_epoch(store: Store, record: bytes) -> None:
    await store.client.call("HSET", store.keys.breakers, BREAKER, b"7 " + record)
    gates = await store.holds.gates()
    assert gates.admits(LANE, NOW)
    assert gates.passed_breakers(LANE, NOW).epochs.target == 7, "commit.lua compares it"
    change = await store.breakers.change(BREAKER, lambda found: found)
    assert change.after.epoch == 7
    await store.client.call("HSET", store.keys.breakers, BREAKER, b"7 " + record)
    (finding,) = await check_gates(store)
    assert (finding.level, BREAKER in finding.text) == (Level.WARN, True)


NEWER = b'9 {"schema":2,"scope":"default/model/suno","cause":"target_failure"%s}'


@pytest.mark.parametrize(
    ("members", "state"),
    [
        (b"", BreakerState.CLOSED),
        (b',"state":"closed","new":1', BreakerState.CLOSED),
        (b',"state":"open"', BreakerState.OPEN),
        (b',"state":"half"', BreakerState.OPEN),
    ],
)
async def test_a_newer_breaker_that_is_closed_stops_nothing(
    store: Store, members: bytes, state: BreakerState
) -> None:
    await store.client.call("HSET", store.keys.breakers, BREAKER, NEWER % members)
    gates = await store.holds.gates()
    assert [one.state for one in gates.breakers] == [state]
    assert gates.admits(LANE, NOW) is (state is BreakerState.CLOSED)
    assert gates.passed_breakers(LANE, NOW).epochs.target == 9
    (finding,) = await check_gates(store)
    assert finding.fix == ACTION_NEWER
    assert "newer version" in finding.text


async def test_an_unreadable_cool_down_counts_as_ended(store: Store) -> None:
    await store.client.call("HSET", store.keys.cool_downs, SCOPE, b"{")
    assert (await store.holds.gates()).admits(LANE, NOW)
    await store.holds.remove_expired_cool_downs(NOW)
    assert await store.client.call("HLEN", store.keys.cool_downs) == 0
