"""`GET /v1/audit`: what operators did, newest first, filtered and in pages."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store, audit
from worker.store.side_writes import NewAuditEntry

BATCH = '{"batch":"b"}'


async def record_action(store: Store, action: str, by: str = "ann", jobs: int = 1) -> None:
    await store.audit.record(
        NewAuditEntry(at=1_900_000_000.5, by=by, action=action, on="j1", note="so", jobs=jobs)
    )


async def test_an_audit_entry_has_who_when_what_target_note_and_count(
    api: CheckedApi, store: Store
) -> None:
    await record_action(store, "release", jobs=3)
    (line,) = (await api.get("/v1/audit")).json["items"]
    assert line.pop("id")
    assert line == {
        "at": "2030-03-17T17:46:40.500Z",
        "by": "ann",
        "act": "release",
        "on": "j1",
        "note": "so",
        "jobs": 3,
        "changed": None,
    }


@pytest.mark.parametrize("chunk", [2, 500])
async def test_pages_lead_from_the_newest_to_the_oldest(
    api: CheckedApi, store: Store, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CHUNK", chunk)
    for n in range(6):
        await record_action(store, f"act{n}")
    pages, seen = 0, list[str]()
    params: dict[str, str | float] = {"limit": 3}
    while True:
        page = (await api.get("/v1/audit", **params)).json
        seen += [line["act"] for line in page["items"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [f"act{n}" for n in reversed(range(6))]
    assert pages == 2, "after the last line there is no page"


async def test_filters_choose_by_operator_and_action(api: CheckedApi, store: Store) -> None:
    for by, action in (("ann", "release"), ("bob", "release"), ("ann", "discard")):
        await record_action(store, action, by)
    for query, count in (
        ({"by": "ann"}, 2),
        ({"act": "release"}, 2),
        ({"by": "ann", "act": "release"}, 1),
        ({"by": "eve"}, 0),
    ):
        assert len((await api.get("/v1/audit", **query)).json["items"]) == count


async def test_filters_choose_by_time(api: CheckedApi, store: Store) -> None:
    await record_action(store, "one")
    (one,) = await latest_audit_entries(store, 1)
    moment = datetime.fromtimestamp(int(one["id"].partition("-")[0]) / 1_000, UTC)
    at = moment.isoformat(timespec="milliseconds")
    assert len((await api.get("/v1/audit", since=at)).json["items"]) == 1
    assert (await api.get("/v1/audit", until=at)).json["items"] == []
    assert len((await api.get("/v1/audit", until="2100-01-01T00:00:00Z")).json["items"]) == 1
    assert (await api.get("/v1/audit", since="2100-01-01T00:00:00Z")).json["items"] == []


@pytest.mark.parametrize("cursor", ["x", "1-2-3", "12e4", ""])
async def test_a_cursor_of_another_list_is_refused(api: CheckedApi, cursor: str) -> None:
    reply = await api.get("/v1/audit", cursor=cursor)
    assert (reply.status, reply.field) == (400, "cursor")


async def test_entries_that_somebody_else_wrote_show_what_there_is(
    api: CheckedApi, store: Store
) -> None:
    await store.client.call("XADD", store.keys.audit, "*", "by", b"\xff", "jobs", "many")
    (line,) = (await api.get("/v1/audit")).json["items"]
    assert (line["by"], line["act"], line["jobs"]) == ("�", "", 0)


async def test_nothing_trims_the_record(store: Store) -> None:
    for n in range(300):
        await record_action(store, f"act{n}")
    assert await store.client.call("XLEN", store.keys.audit) == 300
    assert await store.client.call("TTL", store.keys.audit) == -1


Request = Callable[[CheckedApi, JobFactory], Awaitable[object]]


async def _bulk(api: CheckedApi, job_factory: JobFactory, action: str) -> None:
    make = job_factory.dead if action in ("requeue", "discard") else job_factory.held
    await make("j1", batch="b")
    body = {"filter": {"batch": "b"}, "note": "so"}
    assert (await api.post(f"/v1/bulk/{action}", body)).json["done"] == 1


def bulk(action: str) -> Request:
    return lambda api, job_factory: _bulk(api, job_factory, action)


def one(action: str, make: str, **body: str) -> Request:
    async def run(api: CheckedApi, job_factory: JobFactory) -> None:
        await getattr(job_factory, make)("j1")
        reply = await api.post(f"/v1/jobs/j1/{action}", {"note": "so", **body})
        assert reply.status == 200

    return run


async def _hold(api: CheckedApi, job_factory: JobFactory) -> None:
    del job_factory
    assert (await api.post("/v1/holds", {"scope": "default", "note": "so"})).status == 201


async def _release_hold(api: CheckedApi, job_factory: JobFactory) -> None:
    await _hold(api, job_factory)
    (hold,) = (await api.get("/v1/holds")).json["items"]
    await api.post(f"/v1/holds/{hold['id']}/release", {"note": "so"})


@pytest.mark.parametrize(
    ("action", "done"),
    [
        (one("cancel", "queued"), ("cancel", "j1", 1)),
        (one("park", "queued"), ("park", "j1", 1)),
        (one("release", "held"), ("release", "j1", 1)),
        (one("discard", "held"), ("discard", "j1", 1)),
        (one("requeue", "dead"), ("requeue", "j1", 1)),
        (one("resolve", "uncertain", execution_id="e1"), ("attach", "j1", 1)),
        (one("resolve", "uncertain", outcome="resubmit"), ("resubmit", "j1", 1)),
        (one("resolve", "uncertain", outcome="discard"), ("discard", "j1", 1)),
        (_hold, ("hold", "default", 0)),
        (_release_hold, ("release_hold", "default", 0)),
        (bulk("release"), ("bulk_release", BATCH, 1)),
        (bulk("requeue"), ("bulk_requeue", BATCH, 1)),
        (bulk("discard"), ("bulk_discard", BATCH, 1)),
        (bulk("cancel"), ("bulk_cancel", BATCH, 1)),
    ],
)
async def test_every_action_over_http_is_on_record(
    api: CheckedApi, job_factory: JobFactory, action: Request, done: tuple[str, str, int]
) -> None:
    await action(api, job_factory)
    line = (await api.get("/v1/audit")).json["items"][0]
    assert (line["act"], line["on"], line["jobs"]) == done
    assert (line["by"], line["note"]) == ("local", "so")


async def test_an_action_and_its_audit_entry_are_one_step(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    """Whatever ends the process in between: neither is there without the other."""
    await job_factory.queued("j1")
    counted = await _commands(store)
    await api.post("/v1/jobs/j1/park", {"note": "so"})
    after = await _commands(store)
    assert after["cmdstat_evalsha"] - counted["cmdstat_evalsha"] == 1
    assert after["cmdstat_xadd"] - counted.get("cmdstat_xadd", 0) == 2  # the line, the event


async def _commands(store: Store) -> dict[str, int]:
    stats: dict[str, dict[str, int]] = await store.client.call("INFO", "commandstats")
    return {name: row["calls"] for name, row in stats.items()}


async def test_an_audit_entry_that_cannot_be_written_is_reported(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await job_factory.queued("j1")
    await store.client.call("SET", store.keys.audit, "in the way")
    assert (await api.post("/v1/jobs/j1/park", {"note": "so"})).status == 500
