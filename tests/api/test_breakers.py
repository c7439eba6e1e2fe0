"""Breakers over HTTP: what stops submits, and how an operator probes or resets it."""

from typing import Any

import msgspec
import pytest

from jobs.breakers import Breaker, BreakerCause, BreakerError, BreakerState, new_breaker
from jobs.lanes import Scope
from tests.api.checked_api import CheckedApi
from tests.api.event_stream_client import streaming
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.clock import SystemClock
from worker.store import Store

LANE = "default/model/gpt-image-2"


async def open_breaker(
    store: Store,
    scope: str = LANE,
    cause: BreakerCause = BreakerCause.TARGET_FAILURE,
    **changes: Any,
) -> Breaker:
    """A breaker that is open, with its next probe in ten minutes."""
    now = SystemClock().now()
    facts = {
        "state": BreakerState.OPEN,
        "opened_at": now - 60,
        "failed_at": now - 5,
        "next_probe_at": now + 600,
        "canary_at": now + 600,
        "failures": 12,
        "trips": 2,
        "error": BreakerError("EXECUTION_FAILED", 500),
    } | changes
    key = new_breaker(Scope(scope), cause).key
    change = await store.breakers.change(key, lambda old: msgspec.structs.replace(old, **facts))
    return change.after


async def test_a_breaker_is_listed_with_cause_error_probe_and_what_waits(
    api: CheckedApi, store: Store
) -> None:
    breaker = await open_breaker(store)
    for n in range(3):
        await api.enqueue(id=f"j{n}")
    (item,) = (await api.get("/v1/breakers")).json["items"]
    assert (item["id"], item["scope"]) == (breaker.id, LANE)
    assert (item["cause"], item["state"]) == ("target_failure", "open")
    assert (item["last_error"]["code"], item["last_error"]["http_status"]) == (
        "EXECUTION_FAILED",
        500,
    )
    assert (item["failures"], item["trips"], item["queued"]) == (12, 2, 3)
    assert item["next_probe_at"] > item["since"]
    assert "EXECUTION_FAILED" in item["text"]
    assert item["action"]
    assert (await api.get("/v1/stats")).json["breakers"] == 1


async def test_a_change_is_an_event_of_the_stream(
    api: CheckedApi, store: Store, job_factory: JobFactory
) -> None:
    async with streaming(api.url) as ear:
        await ear.until_begun()
        breaker = await open_breaker(store)
        heard = await ear.next_event()
        assert heard is not None
        assert (heard.event, heard.id) == ("breaker", ear.last_id)
        assert heard.data | {"at": ""} == {
            "id": breaker.id,
            "scope": LANE,
            "cause": "target_failure",
            "state": "open",
            "at": "",
        }
        assert heard.data["at"].endswith("Z")
        await job_factory.queued("j1")
        assert await ear.transitions(1) == [("j1", None, "queued")]


@pytest.mark.parametrize(
    ("scope", "wanted", "is_sent"),
    [
        (LANE, {"target": "gpt-image-2", "kind": "model", "account": "default"}, True),
        (LANE, {"target": "suno"}, False),
        (LANE, {"kind": "workflow"}, False),
        (LANE, {"account": "other"}, False),
        (LANE, {"state": "queued"}, False),
        ("default", {"target": "suno"}, True),
        ("default/model", {"target": "suno", "kind": "model"}, True),
        ("default/model", {"kind": "workflow"}, False),
    ],
)
async def test_a_filter_of_jobs_keeps_the_breakers_that_they_meet(
    api: CheckedApi,
    store: Store,
    job_factory: JobFactory,
    scope: str,
    wanted: dict[str, str],
    *,
    is_sent: bool,
) -> None:
    async with streaming(api.url, None, **wanted) as ear:
        await ear.until_begun()
        await open_breaker(store, scope)
        await job_factory.queued("j1", **{n: v for n, v in wanted.items() if n != "state"})
        heard = await ear.next_event()
    assert heard is not None
    assert heard.event == ("breaker" if is_sent else "job")


async def test_a_job_behind_it_says_why(api: CheckedApi, store: Store) -> None:
    breaker = await open_breaker(store)
    await api.enqueue(id="mine")
    why = (await api.get("/v1/jobs/mine/why")).json
    (blocker,) = (one for one in why["blockers"] if one["kind"] == "breaker")
    assert (blocker["breaker_id"], why["breaker"]["id"]) == (breaker.id, breaker.id)
    assert why["breaker"]["queued"] == 1
    assert blocker["until"] == why["breaker"]["next_probe_at"]
    await api.enqueue(id="free", target="suno")
    assert (await api.get("/v1/jobs/free/why")).json["breaker"] is None


async def test_open_ones_come_first_and_clean_ones_are_left_out(
    api: CheckedApi, store: Store
) -> None:
    await open_breaker(store, "default/model/a", state=BreakerState.CLOSED, failures=1)
    await open_breaker(store, "default/model/b", state=BreakerState.PROBING, step=1)
    await open_breaker(store, "default/model/c")
    await open_breaker(store, "default/model/d", state=BreakerState.CLOSED, failures=0)
    items = (await api.get("/v1/breakers")).json["items"]
    assert [item["scope"][-1] for item in items] == ["c", "b", "a"]
    assert (await api.get("/v1/stats")).json["breakers"] == 2, "what stops or slows submits"


async def test_a_probe_is_due_now_and_that_is_on_record(api: CheckedApi, store: Store) -> None:
    breaker = await open_breaker(store)
    answer = await api.post(f"/v1/breakers/{breaker.id}/probe", {"note": "status page is green"})
    assert answer.status == 200
    assert (answer.json["state"], "due now" in answer.json["text"]) == ("open", True)
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == (
        "probe_breaker",
        LANE,
        "status page is green",
    )


async def test_a_reset_closes_it(api: CheckedApi, store: Store) -> None:
    breaker = await open_breaker(store)
    answer = await api.post(f"/v1/breakers/{breaker.id}/reset")
    assert (answer.status, answer.json["state"], answer.json["since"]) == (200, "closed", None)
    assert (await api.get("/v1/breakers")).json["items"] == []
    (entry,) = await latest_audit_entries(store, 1)
    assert entry["act"] == "reset_breaker"


@pytest.mark.parametrize("action", ["probe", "reset"])
async def test_there_is_no_act_on_no_breaker(api: CheckedApi, action: str) -> None:
    answer = await api.post(f"/v1/breakers/breaker-0/{action}", {})
    assert answer.status == 404
    assert answer.json["type"].endswith("no-such-breaker")


async def test_metrics_count_breakers_by_cause_and_state(api: CheckedApi, store: Store) -> None:
    await open_breaker(store)
    await open_breaker(store, "default", BreakerCause.UNREACHABLE)
    await api.enqueue(id="mine")
    text = (await api.get("/metrics")).body.decode()
    assert 'knouds_breakers{cause="target_failure",state="open"} 1.0' in text
    assert 'knouds_breakers{cause="unreachable",state="open"} 1.0' in text
    assert 'knouds_breakers{cause="unknown_outcome",state="probing"} 0.0' in text
    assert f'knouds_breaker_queued{{scope="{LANE}"}} 1.0' in text


async def test_one_workers_own_network_is_told_apart(api: CheckedApi, store: Store) -> None:
    facts = {"is_shared": False, "workers": ("w1",)}
    await open_breaker(store, "default", BreakerCause.UNREACHABLE, **facts)
    (item,) = (await api.get("/v1/breakers")).json["items"]
    assert item["workers"] == ["w1"]
    assert "1 worker of several" in item["text"]
