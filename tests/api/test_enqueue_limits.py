"""Limits of enqueues: accounts without a key, rates, open jobs, new names, memory of Redis."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from config.token_limits import DEFAULT_LIMITS
from config.values import TokenLimits
from jobs.holds import Hold, hold_id
from jobs.indexes import Index
from jobs.lanes import Scope
from tests.api.checked_api import REQUEST, ApiReply, CheckedApi
from tests.api.conftest import OpenWithTokens
from tests.api.token_entries import Entry, bearer
from worker.app import enqueue_guard
from worker.doctor import gates
from worker.store import Store, holds
from worker.store.enqueue_facts import EnqueueFacts

LIMITS: dict[str, dict[str, float]] = {
    "app": {},
    "slow": {"enqueues_per_s": 0.1},
    "few": {"open_jobs": 3},
    "small": {"open_bytes": 2_000},
    "narrow": {"new_lanes_per_min": 1},
    "plain": {"new_tags_per_min": 1},
    "of_shop": {},
    "of_shop_too": {},
    "bound": {},
}


@pytest.fixture
async def guarded(open_with_tokens: OpenWithTokens) -> AsyncGenerator[CheckedApi]:
    entries: list[Entry] = [
        {"name": name, "role": "enqueue", "limits": limits} for name, limits in LIMITS.items()
    ]
    entries[-1] |= {"accounts": ["studio", "studio-2"]}
    for entry in entries[-3:-1]:
        entry["tenant"] = "shop"
    async with open_with_tokens(entries) as api:
        yield api


async def send(api: CheckedApi, token: str, *requests: dict[str, object]) -> ApiReply:
    headers = bearer(token)
    if len(requests) == 1:
        return await api.post("/v1/jobs", {**REQUEST, **requests[0]}, headers=headers)
    jobs = [{**REQUEST, **one} for one in requests]
    return await api.post("/v1/jobs/bulk", {"jobs": jobs}, headers=headers)


def statuses(bulk: ApiReply) -> list[int]:
    assert bulk.status == 200, bulk.body
    return [row["status"] for row in bulk.json["results"]]


def is_limited(reply: ApiReply, name: str) -> bool:
    assert reply.status == 429, reply.body
    assert int(reply.headers["Retry-After"]) >= 1
    return bool(reply.json["reason"] == name)


async def test_an_account_without_a_key_is_refused_once_workers_have_reported_theirs(
    guarded: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue_guard, "FACTS_MAX_AGE_S", 0.0)
    invented: dict[str, object] = {"account": "invented"}
    assert (await send(guarded, "app", invented)).status == 202
    await store.accounts.report(["default", "studio"], 1_000.0)
    refused = await send(guarded, "app", invented)
    assert (refused.status, refused.field) == (422, "account")
    assert "use one of default, studio" in refused.detail
    unknown: dict[str, object] = {"account": "studio-2"}
    for sent in (await send(guarded, "bound", unknown), await send(guarded, "bound", unknown, {})):
        assert b"use one of studio, or add a key" in sent.body
        assert b"default" not in sent.body, "accounts of others"
    bulk = await send(guarded, "app", {}, invented, {"account": "studio"})
    assert [row["status"] for row in bulk.json["results"]] == [202, 422, 202]


async def test_a_token_enqueues_as_fast_as_it_may(guarded: CheckedApi) -> None:
    assert statuses(await send(guarded, "slow", {}, {}, {})) == [202, 202, 429]
    assert is_limited(await send(guarded, "slow", {}, {}), "enqueues_per_s")
    assert is_limited(await send(guarded, "slow", {}), "enqueues_per_s")
    assert (await send(guarded, "app", {})).status == 202


async def test_open_jobs_of_a_token_are_limited_until_they_settle(
    guarded: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue_guard, "FACTS_MAX_AGE_S", 0.0)
    assert (await send(guarded, "few", {"id": "a"}, {"id": "b"})).status == 200
    bulk = await send(guarded, "few", {}, {"target": ""}, {})
    assert statuses(bulk) == [202, 422, 429]
    alone = await send(guarded, "few", {})
    assert is_limited(alone, "open_jobs")
    assert bulk.json["results"][2]["error"] == alone.json
    assert is_limited(await send(guarded, "few", {}), "open_jobs")
    stored = await store.jobs.load("a")
    assert stored is not None
    await store.jobs.delete(stored)
    assert (await send(guarded, "few", {})).status == 202
    index = store.keys.index(Index.OPEN, "few")
    assert await store.client.call("ZCARD", index) == 3


async def test_bytes_of_the_inputs_of_open_jobs_are_limited(guarded: CheckedApi) -> None:
    large: dict[str, object] = {"inputs": {"prompt": "x" * 900}}
    assert statuses(await send(guarded, "small", large, large, large, {})) == [202, 202, 429, 202]
    assert is_limited(await send(guarded, "small", large), "open_bytes")


async def test_new_lanes_and_new_tags_are_limited(guarded: CheckedApi) -> None:
    targets: list[dict[str, object]] = [{"target": f"t{number}"} for number in range(11)]
    bulk = await send(guarded, "narrow", *targets, {"target": "t1"})
    assert statuses(bulk) == [202] * 10 + [429, 202]
    assert bulk.json["results"][10]["error"]["reason"] == "new_lanes_per_min"
    assert is_limited(await send(guarded, "narrow", {"target": "another"}), "new_lanes_per_min")
    assert (await send(guarded, "narrow", {"target": "t1"})).status == 202
    tags: list[dict[str, object]] = [{"tags": [f"tag{number}"]} for number in range(11)]
    assert statuses(await send(guarded, "plain", *tags, {})) == [202] * 10 + [429, 202]
    assert is_limited(await send(guarded, "plain", {"tags": ["another"]}), "new_tags_per_min")
    assert (await send(guarded, "plain", {"tags": ["tag1"]})).status == 202


async def test_all_lanes_together_are_limited(
    guarded: CheckedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue_guard, "MAX_LANES", 2)
    targets: list[dict[str, object]] = [{"target": name} for name in "abca"]
    bulk = await send(guarded, "app", *targets)
    assert statuses(bulk) == [202, 202, 429, 202]
    assert is_limited(await send(guarded, "app", {"target": "c"}), "lanes")
    assert (await send(guarded, "app", {"target": "a"})).status == 202


async def test_where_many_holds_stand_no_new_target_is_enqueued(
    guarded: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (enqueue_guard, holds, gates):
        monkeypatch.setattr(module, "MAX_HOLDS", 2)
    monkeypatch.setattr(enqueue_guard, "FACTS_MAX_AGE_S", 0.0)
    assert (await send(guarded, "app", {"target": "known"})).status == 202
    for scope in ("default/model/a", "default/model/b"):
        assert (await pause(guarded, scope)).status == 201
    assert is_limited(await send(guarded, "app", {"target": "new"}), "holds")
    assert (await send(guarded, "app", {"target": "known"})).status == 202
    assert is_limited(await pause(guarded, "default/model/c"), "holds")
    assert (await pause(guarded, "default/model/b")).status == 200
    assert (await pause(guarded, "default/model")).status == 201, "stops more than a target"
    (finding,) = await gates.check_gates(store)
    assert "3 holds stand" in finding.text
    for hold in await store.holds.list_all():
        path = f"/v1/holds/{hold.id}/release"
        assert (await guarded.post(path, {}, headers=bearer("ops"))).status == 200
    assert (await send(guarded, "app", {"target": "new"})).status == 202


@pytest.mark.parametrize(
    "names",
    [
        ("app", "app", "few"),
        ("app", "app", "of_shop"),
        ("of_shop", "tenant shop", "app"),
        ("of_shop_too", "tenant shop", "app"),
    ],
)
async def test_the_holds_of_one_token_or_tenant_stop_no_other(
    guarded: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str, str]
) -> None:
    refused, whose, other = names
    placed_for = "shop~" if whose == "tenant shop" else whose
    for module in (enqueue_guard, holds, gates):
        monkeypatch.setattr(module, "MAX_HOLDS_OF_OWNER", 2)
    monkeypatch.setattr(enqueue_guard, "FACTS_MAX_AGE_S", 0.0)
    assert (await send(guarded, refused, {"target": "known"})).status == 202
    for target in "abc":
        await store.holds.place(a_hold(f"default/model/{target}", placed_for))
    assert len(await store.holds.list_all()) == 2
    assert is_limited(await send(guarded, refused, {"target": "new"}), "holds")
    bulk = await send(guarded, refused, {"target": "new"}, {"target": "known"})
    assert statuses(bulk) == [429, 202]
    assert (await send(guarded, other, {"target": "another"})).status == 202
    assert await store.holds.place(a_hold("default/model/x", "few"))
    assert (await pause(guarded, "default/model/y")).status == 201, "no job placed it"
    assert await store.holds.place(a_hold("default/model", placed_for)), "it stops a route"
    (finding,) = await gates.check_gates(store)
    assert f"2 targets are on hold after jobs of {whose}" in finding.text


def a_hold(scope: str, placed_for: str) -> Hold:
    return Hold(
        id=hold_id(Scope(scope), "X"),
        scope=Scope(scope),
        code="X",
        created_at=1_000.0,
        placed_for=placed_for,
    )


async def pause(api: CheckedApi, scope: str) -> ApiReply:
    return await api.post("/v1/holds", {"scope": scope}, headers=bearer("ops"))


async def test_nothing_is_enqueued_while_redis_is_nearly_full(
    guarded: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue_guard, "FACTS_MAX_AGE_S", 0.0)
    read = type(store.enqueue_facts).read
    used = {"share": 0.79}

    async def nearly_full(self: Any, tokens: Any) -> EnqueueFacts:
        facts = await read(self, tokens)
        return replace(facts, used_memory=int(1_000 * used["share"]), max_memory=1_000)

    monkeypatch.setattr(type(store.enqueue_facts), "read", nearly_full)
    assert (await send(guarded, "app", {})).status == 202
    used["share"] = 0.8
    refused = await send(guarded, "app", {})
    assert (refused.status, refused.json["reason"]) == (503, "OOM")
    assert "below 80% only" in refused.detail
    assert int(refused.headers["Retry-After"]) > 1


async def test_the_facts_are_those_of_redis(store: Store) -> None:
    await store.client.call("CONFIG", "SET", "maxmemory", "1gb")
    try:
        facts = await store.enqueue_facts.read([])
    finally:
        await store.client.call("CONFIG", "SET", "maxmemory", "0")
    assert facts.max_memory == 1 << 30
    assert 0 < facts.used_memory < 1 << 30


async def test_a_thousand_enqueues_share_a_few_reads(
    guarded: CheckedApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[object] = []
    read = type(store.enqueue_facts).read

    async def counted(self: Any, tokens: Any) -> EnqueueFacts:
        reads.append(tokens)
        return await read(self, tokens)

    monkeypatch.setattr(type(store.enqueue_facts), "read", counted)
    monkeypatch.setattr(enqueue_guard, "FACTS_MAX_AGE_S", 3_600.0)
    for _ in range(20):
        assert (await send(guarded, "app", {})).status == 202
    assert len(reads) == 1


def test_limits_of_the_settings_are_for_tokens_without_their_own() -> None:
    own = TokenLimits(open_jobs=5, enqueues_per_s=0)
    merged = own.with_defaults(DEFAULT_LIMITS)
    assert (merged.open_jobs, merged.enqueues_per_s, merged.new_lanes_per_min) == (5, 0, 60)
