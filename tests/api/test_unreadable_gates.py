"""A hold whose record cannot be read is shown, and can be released."""

import pytest

from jobs.holds import HoldPhase
from tests.api.checked_api import CheckedApi
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store


@pytest.mark.parametrize(("code", "left"), [("manual", []), ("X", [HoldPhase.OPENING])])
async def test_an_unreadable_hold_can_be_released(
    api: CheckedApi, store: Store, code: str, left: list[HoldPhase]
) -> None:
    key = f"default/model|{code}"
    await store.client.call("HSET", store.keys.holds, key, b'{"schema":1,"id"')
    (hold,) = (await api.get("/v1/holds")).json["items"]
    assert key in hold["message"]
    assert (await api.post(f"/v1/holds/{hold['id']}/release", {})).status == 200
    found = await store.holds.list_all()
    assert [one.phase for one in found] == left
    assert all(one.created_at > 0 and not one.message for one in found)


@pytest.mark.parametrize("field", [b"no-mark", b"\xff|X"])
async def test_a_field_that_names_no_hold_goes_with_its_release(
    api: CheckedApi, store: Store, field: bytes
) -> None:
    await store.client.call("HSET", store.keys.holds, field, b"{")
    (hold,) = (await api.get("/v1/holds")).json["items"]
    assert (await api.post(f"/v1/holds/{hold['id']}/release", {})).status == 200
    assert (await api.get("/v1/holds")).json["items"] == []
    (entry, *_) = await latest_audit_entries(store, 1)
    assert entry["act"] == "release_hold"


async def test_an_unreadable_pause_can_be_set_again(api: CheckedApi, store: Store) -> None:
    await store.client.call("HSET", store.keys.holds, "default/model|manual", b"{")
    answer = await api.post("/v1/holds", {"scope": "default/model"})
    assert "cannot be read" not in answer.json["message"]
    (hold,) = await store.holds.list_all()
    assert hold.created_at > 0


async def test_a_newer_open_breaker_says_what_starts_it(api: CheckedApi, store: Store) -> None:
    record = b'7 {"schema":2,"state":"open"}'
    await store.client.call("HSET", store.keys.breakers, "default/model|unknown_outcome", record)
    (breaker,) = (await api.get("/v1/breakers")).json["items"]
    assert "version that wrote it" in breaker["action"]
    assert "probe due" not in breaker["text"]
