"""The workflows of accounts: read rarely, by one worker, and kept as facts with their age."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import pytest
from arq import ArqRedis

from config.settings import Settings
from jobs.holds import CoolDown
from jobs.lanes import Lane, Scope
from jobs.outcomes import CallFailure, ProviderError
from jobs.states import Kind
from jobs.workflows import InputField, Workflow, WorkflowList, WorkflowSchema
from tests.contract.client_calls import provider_at
from tests.engine.live_system import LiveSystem
from tests.simulation.manual_clock import ManualClock
from worker.compose.decision_rules import decision_rules
from worker.engine.services.workflow_reader import (
    LEASE_S,
    LIST_AGE_S,
    NEW_SLUG_AGE_S,
    REFUSED_WAIT_S,
    SCHEMA_AGE_S,
    SCHEMAS_PER_TICK,
    WorkflowPort,
    WorkflowReader,
)
from worker.engine.wakeups import Wakeups
from worker.engine.worker_parts import WorkerContext
from worker.sandbox import DEFAULT_KEY
from worker.store import Store, open_store
from worker.store.lane_facts import LaneFacts
from worker.store.workflows import (
    FACTS_MAX_AGE_S,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMAS,
    MAX_USED,
    WorkflowFacts,
)

SHOTS: Final = Lane("default", Kind.WORKFLOW, "shots")
DENIED: Final = CallFailure(
    "CAPABILITY_DENIED: no", 403, error=ProviderError("CAPABILITY_DENIED", "no", 403)
)


LISTED: Final = WorkflowList(
    (Workflow(slug="shots", price=16.0), Workflow(slug="old", archived=True)), is_complete=True
)
TAKES: Final = WorkflowSchema((InputField(name="image", needed=True),), is_complete=True)


@dataclass
class FakeWorkflows:
    """Answers with what the test says, and counts the calls."""

    answer: WorkflowList | CallFailure = LISTED
    schema: WorkflowSchema | CallFailure = TAKES
    calls: Counter[str] = field(default_factory=Counter[str])

    async def workflows(self, account: str) -> WorkflowList | CallFailure:
        self.calls[account] += 1
        return self.answer

    async def workflow_schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        self.calls[f"{account}/{slug}"] += 1
        return self.schema


@dataclass
class Readers:
    """The readers of two workers, and what is on record."""

    store: Store
    clock: ManualClock
    provider: FakeWorkflows
    readers: dict[str, WorkflowReader]

    async def tick(self, worker: str = "w1", *, after_s: float = 0.0) -> None:
        self.clock.pass_time(after_s)
        if after_s >= LEASE_S:  # which Redis counts by its own clock
            await self.store.client.call("DEL", self.store.keys.workflows_lease("default"))
        await self.readers[worker].tick(self.clock.now())

    async def facts(self, lane: Lane = SHOTS, *, enqueuing: bool = False) -> LaneFacts:
        found = await self.store.lane_facts.read([lane], self.clock.now(), enqueuing=enqueuing)
        return found[lane]

    async def use(self, *slugs: str) -> None:
        """Jobs are enqueued for these workflows."""
        lanes = [Lane("default", Kind.WORKFLOW, slug) for slug in slugs]
        await self.store.lane_facts.read(lanes, self.clock.now(), enqueuing=True)


async def reader_of(
    store: Store, clock: ManualClock, provider: WorkflowPort, worker: str
) -> WorkflowReader:
    """A reader whose first tick, which only waits, is over."""
    context = WorkerContext(
        worker, store, clock, Wakeups(), decision_rules(Settings()), 10.0, ("default",)
    )
    reader = WorkflowReader(context, provider)
    await reader.tick(clock.now())
    return reader


@pytest.fixture
async def readers(redis: ArqRedis, namespace: str) -> Readers:
    store, clock, provider = open_store(redis, namespace), ManualClock(), FakeWorkflows()
    both = {name: await reader_of(store, clock, provider, name) for name in ("w1", "w2")}
    return Readers(store, clock, provider, both)


async def test_the_list_is_read_every_ten_minutes_by_one_worker(readers: Readers) -> None:
    assert not readers.provider.calls, "a worker that starts has more urgent calls to make"
    assert await readers.facts() == LaneFacts()
    await readers.tick("w1")
    await readers.tick("w2")
    read_at = readers.clock.now()
    shots = Workflow(slug="shots", price=16.0)
    assert (await readers.facts()).workflow == WorkflowFacts(read_at, shots)
    assert (await readers.facts()).price == 16.0
    await readers.tick("w2", after_s=LIST_AGE_S - 1)
    assert readers.provider.calls == {"default": 1}
    readers.provider.answer = WorkflowList((Workflow(slug="new"),), is_complete=True)
    await readers.tick("w2", after_s=1)
    assert readers.provider.calls == {"default": 2}
    assert (await readers.facts()).workflow == WorkflowFacts(readers.clock.now(), None)


async def test_one_worker_reads_under_a_lease(readers: Readers) -> None:
    assert await readers.store.workflows.claim("default", "another", 60.0)
    await readers.tick()
    assert not readers.provider.calls


async def test_facts_outlive_the_workers_for_a_day(readers: Readers) -> None:
    await readers.use("shots")
    await readers.tick()
    readers.clock.pass_time(FACTS_MAX_AGE_S - 1)
    facts = (await readers.facts()).workflow
    assert facts.workflow is not None
    assert facts.schema.is_complete
    readers.clock.pass_time(1)
    assert await readers.facts() == LaneFacts(), "what is too old is unknown"


async def test_schemas_are_read_of_workflows_that_jobs_are_enqueued_for(readers: Readers) -> None:
    await readers.tick()
    await readers.facts()
    await readers.tick(after_s=15)
    assert readers.provider.calls == {"default": 1}, "a look at the estimate is no enqueue"
    await readers.use("shots")
    await readers.tick()
    assert readers.provider.calls == {"default": 1, "default/shots": 1}
    assert (await readers.facts()).workflow.schema == TAKES
    await readers.tick("w1", after_s=SCHEMA_AGE_S - 1)
    assert readers.provider.calls["default/shots"] == 1
    await readers.tick("w1", after_s=1)
    assert readers.provider.calls["default/shots"] == 2
    readers.clock.pass_time(FACTS_MAX_AGE_S)
    await readers.tick()
    assert readers.provider.calls["default/shots"] == 2, "no job was enqueued for it lately"
    assert not await readers.store.client.call("EXISTS", readers.store.keys.used_workflows)


async def test_schemas_are_read_a_few_at_a_time_and_those_of_unknown_slugs_never(
    readers: Readers,
) -> None:
    slugs = [f"w{n}" for n in range(SCHEMAS_PER_TICK + 2)]
    entries = tuple(Workflow(slug=slug) for slug in slugs)
    readers.provider.answer = WorkflowList(entries, is_complete=True)
    await readers.use(*slugs, "no-such")
    await readers.tick()
    assert readers.provider.calls.total() == 1 + SCHEMAS_PER_TICK
    await readers.tick()
    assert readers.provider.calls.total() == 1 + len(slugs)
    await readers.tick()
    assert readers.provider.calls.total() == 1 + len(slugs)


async def test_a_slug_that_may_be_new_has_the_list_read_sooner(readers: Readers) -> None:
    await readers.tick()
    await readers.use("shots")
    await readers.tick("w1", after_s=NEW_SLUG_AGE_S)
    assert readers.provider.calls["default"] == 1
    await readers.use("new")
    await readers.tick()
    assert readers.provider.calls["default"] == 2
    await readers.tick("w1", after_s=NEW_SLUG_AGE_S)
    assert readers.provider.calls["default"] == 2, "no job was enqueued for it since"
    readers.provider.answer = WorkflowList((Workflow(slug="shots"),), is_complete=False)
    await readers.tick("w1", after_s=LIST_AGE_S)
    readers.clock.pass_time(1)
    await readers.use("new")
    await readers.tick("w1", after_s=NEW_SLUG_AGE_S)
    assert readers.provider.calls["default"] == 3, "a list with gaps says nothing about a new one"
    assert (await readers.facts()).workflow.list_read_at is None


@pytest.mark.parametrize(
    ("failure", "wait_s"),
    [
        (DENIED, REFUSED_WAIT_S),
        (CallFailure("RATE_LIMIT_EXCEEDED: slow down", 429, 77.0), 77.0),
        (CallFailure("RATE_LIMIT_EXCEEDED: slow down", 429), 60.0),
        (CallFailure("no connection"), 120.0),
    ],
)
async def test_a_refusal_is_remembered_by_every_worker_and_keeps_what_is_known(
    readers: Readers, failure: CallFailure, wait_s: float
) -> None:
    await readers.use("shots")
    await readers.tick()
    before = (await readers.facts()).workflow
    readers.provider.answer = failure
    await readers.tick("w1", after_s=LIST_AGE_S)
    assert readers.provider.calls["default"] == 2
    assert (await readers.facts()).workflow == before
    await readers.tick("w2", after_s=wait_s - 1)
    assert readers.provider.calls["default"] == 2
    readers.provider.answer = WorkflowList((), is_complete=True)
    await readers.tick("w2", after_s=61)
    assert readers.provider.calls["default"] == 3
    assert await readers.store.holds.list_all() == [], "it changes nothing for jobs"


async def test_a_schema_that_is_refused_postpones_the_rest(readers: Readers) -> None:
    readers.provider.schema = DENIED
    await readers.use("shots", "old")
    await readers.tick()
    assert readers.provider.calls.total() == 2
    await readers.tick("w1", after_s=REFUSED_WAIT_S - 1)
    assert readers.provider.calls.total() == 2


async def test_a_schema_that_is_gone_is_not_asked_for_again_and_again(readers: Readers) -> None:
    readers.provider.schema = CallFailure("HTTP_404: none", 404, error=ProviderError(None, "", 404))
    await readers.use("shots")
    await readers.tick()
    await readers.tick()
    assert readers.provider.calls["default/shots"] == 1
    assert (await readers.facts()).workflow.schema == WorkflowSchema()
    found = (await readers.store.workflows.on_record(["default"]))["default"]
    assert found.state.not_before == 0, "the other schemas are read"


async def test_an_account_that_cools_down_is_left_alone(readers: Readers) -> None:
    until = readers.clock.now() + 30
    await readers.store.holds.place_cool_down(CoolDown(Scope("default"), until, "unreachable"))
    await readers.tick()
    assert not readers.provider.calls
    await readers.tick("w1", after_s=31)
    assert readers.provider.calls == {"default": 1}


async def test_what_is_kept_is_bounded(readers: Readers) -> None:
    store, now = readers.store, readers.clock.now()
    slugs = [f"w{n}" for n in range(MAX_USED + 10)]
    await readers.use(*slugs)
    await store.workflows.forget_unused(now)
    assert await store.client.call("ZCARD", store.keys.used_workflows) == MAX_USED
    large = InputField(name="n" * 200, type="t" * 100)
    too_large = WorkflowSchema((large,) * (MAX_SCHEMA_BYTES // 200), is_complete=True)
    await store.workflows.write_schema("default", "shots", too_large, now)
    assert (await readers.facts()).workflow.schema == WorkflowSchema()
    for n in range(MAX_SCHEMAS + 1):
        await store.workflows.write_schema("default", f"old{n}", WorkflowSchema(), now)
    key = store.keys.workflow_schemas("default")
    assert await store.client.call("HLEN", key) < 2 * MAX_SCHEMAS


async def test_damaged_facts_are_unknown(readers: Readers) -> None:
    await readers.use("shots")
    await readers.tick()
    keys, call = readers.store.keys, readers.store.client.call
    await call("HSET", keys.workflow_schemas("default"), "shots", b"\xff{")
    await call("HSET", keys.workflows("default"), "shots", b"[", "", b"7")
    assert await readers.facts() == LaneFacts()
    await readers.tick("w1", after_s=61)
    assert (await readers.facts()).price == 16.0, "the list is read again"
    await readers.use("shots")
    await readers.tick("w1", after_s=SCHEMA_AGE_S)
    assert (await readers.facts()).workflow.schema == TAKES


async def test_a_key_without_the_right_says_nothing_and_holds_nothing(system: LiveSystem) -> None:
    """Most presets of keys lack `workflow:read`."""
    clock, store = ManualClock(), system.store
    capabilities = ["workflow:run", "execution:read"]
    await system.sandbox_admin("keys", key=DEFAULT_KEY, capabilities=capabilities)
    async with provider_at(system.sandbox_url, key=DEFAULT_KEY) as provider:
        reader = await reader_of(store, clock, provider, "w1")
        await reader.tick(clock.now())
    found = (await store.workflows.on_record(["default"]))["default"]
    assert found.state.read_at is None
    assert "CAPABILITY_DENIED" in found.state.why
    assert await store.holds.list_all() == []
