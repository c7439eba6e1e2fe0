"""The arena: a mortal Redis, a sandbox, workers, a seeded load, and the ledger as the judge."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from jobs.job import Job
from jobs.lanes import JobId
from jobs.requests import Order
from jobs.states import AT_REST, Kind, State
from jobs.transitions import UNCERTAIN
from tests.chaos.census import take_census
from tests.chaos.fleet import Fleet
from tests.chaos.mortal_redis import MortalRedis
from tests.chaos.scale import FORM, SETTLED_WITHIN_S
from tests.engine.stack import SOMEBODY, Stack, stack, wait_until
from worker.clock import SystemClock
from worker.doctor.integrity_check import Census
from worker.redis.connect import connect
from worker.sandbox import SandboxConfig, running

ASYNC = (
    (Kind.MODEL, "gpt-image-2"),
    (Kind.MODEL, "suno"),
    (Kind.WORKFLOW, "my-pipeline"),
)
SYNC_ONLY = (
    (Kind.MODEL, "nano-banana-2"),
    (Kind.MODEL, "seedream-v5"),
    (Kind.WORKFLOW, "caption-images"),
)
SYNC_SHARE = 0.25
SLOW_SHARE = 0.5
NAMESPACE = "chaos"


@dataclass(slots=True)
class Found:
    """What came of it: counts for the table, and what the claims are about."""

    jobs: int
    states: dict[str, int]
    uncertain: list[Job]
    started: dict[str, int]
    """Job → runs the provider started for it."""
    started_twice: dict[str, int]
    lost: list[str]
    misplaced: list[str]
    errors: list[str]
    given_back: int
    """Jobs whose worker was gone before it sent them: back in line, by the rescuer."""

    answered_late: int
    """Jobs that were in doubt, and whose answer was heard after all."""

    def never_started(self, job: Job) -> bool:
        """Whether the provider knows nothing of it: never sent, or refused and not heard."""
        return not self.started[job.id]


@dataclass
class Arena:
    """A running system under chaos."""

    stack: Stack
    fleet: Fleet
    rng: random.Random
    mortal: MortalRedis | None = None
    acknowledged: list[str] = field(default_factory=list[str])
    """Ids of the jobs that were taken."""
    censuses: int = 0
    """How often the places were checked while everything moved."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    began: float = field(default_factory=time.monotonic)

    @property
    def redis(self) -> MortalRedis:
        """The one server, where there is only one."""
        assert self.mortal is not None
        return self.mortal

    def orders(
        self, count: int, targets: Sequence[tuple[Kind, str]] = (), **play: Any
    ) -> list[tuple[JobId, Order]]:
        """The next orders of the load: short runs, mixed modes, slow answers to the submit."""
        return [self.order(f"j{next(self.numbers)}", targets, play) for _ in range(count)]

    def order(
        self, job_id: str, targets: Sequence[tuple[Kind, str]], fault: dict[str, Any]
    ) -> tuple[JobId, Order]:
        """One order; `fault` in place of a slow answer."""
        rng = self.rng
        mixed = SYNC_ONLY if rng.random() < SYNC_SHARE else ASYNC
        kind, target = rng.choice(targets or mixed)
        play: dict[str, Any] = {"label": job_id, "duration_s": round(rng.uniform(0.1, 1.0), 3)}
        if fault:
            play |= fault
        elif rng.random() < SLOW_SHARE:
            play |= {"fault": "slow", "delay_s": round(rng.uniform(0.02, 0.4), 3)}
        inputs = msgspec.json.encode({"prompt": "a cat", "sandbox": play})
        return JobId(job_id), Order(kind=kind, target=target, inputs=inputs)

    async def enqueue(self, orders: Sequence[tuple[JobId, Order]]) -> None:
        """Enqueue orders; Redis has to be there."""
        placed = await self.stack.intake.enqueue_many(orders)
        for result in placed:
            assert not isinstance(result, Exception), result
        self.acknowledged += [str(job_id) for job_id, _ in orders]

    async def until_at_rest(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until every job is settled or parked."""
        counts: dict[State, int] = {}

        async def all_rest() -> bool:
            nonlocal counts
            counts = await self.stack.counts()
            return sum(counts.get(state, 0) for state in AT_REST) >= len(self.acknowledged)

        try:
            await wait_until(all_rest, "everything at rest", within_s)
        except AssertionError:
            queues = await self.stack.store.lanes.queues()
            raise AssertionError(
                f"after {within_s} s not at rest: { {str(s): n for s, n in counts.items()} },"
                f" {queues.submitting} submitting"
            ) from None

    async def until_all_succeeded(self, within_s: float = SETTLED_WITHIN_S) -> float:
        """Wait until every job has its result, without anybody's help; returns the seconds."""
        began = time.monotonic()

        async def all_have() -> bool:
            return (await self.stack.counts()).get(State.SUCCEEDED, 0) == len(self.acknowledged)

        try:
            await wait_until(all_have, "every job has succeeded", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.stack.counts()}") from None
        return time.monotonic() - began

    async def look(self) -> Found:
        """Hold records, places and the ledger against each other."""
        census = await take_census(self.stack.store)
        jobs = census.jobs
        ledger = await self.stack.labels()
        uncertain = [job for job in jobs.values() if job.parked_as == UNCERTAIN]
        started = {job_id: ledger.get(job_id, {"started": 0})["started"] for job_id in jobs}
        events = Counter(event.note for job in jobs.values() for event in job.events)
        return Found(
            jobs=len(self.acknowledged),
            states=dict(Counter(str(job.state) for job in jobs.values())),
            uncertain=uncertain,
            started=started,
            started_twice={job_id: count for job_id, count in started.items() if count > 1},
            lost=sorted(set(self.acknowledged) - jobs.keys()),
            misplaced=[*census.misplaced, *await self.doctors_word()],
            errors=self.fleet.errors(),
            given_back=events["admitted, but never sent"],
            answered_late=sum(map(_was_answered_late, jobs.values())),
        )

    async def check_places(self) -> None:
        """Every job stands in exactly the places its record names, also while all move."""
        census = await take_census(self.stack.store)
        assert census.misplaced == []
        assert await self.doctors_word() == [], "a false alarm: the snapshot was clean"
        self.censuses += 1

    async def doctors_word(self) -> list[str]:
        """What the doctor's own census finds wrong."""
        census = Census(self.stack.store, SystemClock(), lease_s=self.stack.settings.lease_s)
        report = await census.run()
        return [damage.text for damage, _ in report.told]

    async def resolve(self, jobs: Sequence[Job]) -> int:
        """Do what a person would: attach the run the provider knows, else submit once more."""
        executions = await self._executions()
        for job in jobs:
            execution_id = executions.get(job.id)
            if execution_id is None:
                await self.stack.desk.resubmit(job.id, SOMEBODY)
            else:
                await self.stack.desk.attach(job.id, SOMEBODY, execution_id)
        await self.until_at_rest()
        return len(jobs)

    async def _executions(self) -> dict[str, str]:
        url = f"{self.stack.sandbox}/_sandbox/executions"
        async with self.stack.http.get(url) as answer:
            items = (await answer.json())["items"]
        return {item["label"]: item["id"] for item in items}


def _was_answered_late(job: Job) -> bool:
    by_people = {"attach", "resubmit"} & {event.name for event in job.events}
    doubted = any(event.note == UNCERTAIN for event in job.events)
    return doubted and not by_people and job.parked_as != UNCERTAIN


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table at the end of the run."""

    scenario: str
    disturbed: str
    seed: int
    seconds: float
    found: Found
    resolved: int

    def __str__(self) -> str:
        found = self.found
        never = sum(map(found.never_started, found.uncertain))
        return (
            f"{self.scenario:<10} {FORM:<5} seed {self.seed:<6} {self.seconds:5.0f} s"
            f" {self.disturbed:<24} {found.jobs:5} jobs"
            f" {found.states.get('succeeded', 0):5} succeeded"
            f" {len(found.uncertain):3} uncertain ({never} never started)"
            f" {self.resolved:3} resolved {found.given_back:3} given back"
            f" {found.answered_late:3} answered late"
            f" {len(found.started_twice)} started twice {len(found.lost)} lost"
            f" {len(found.misplaced)} misplaced"
        )


@asynccontextmanager
async def arena(
    folder: Path, seed: int, *, workers: int = 2, **settings: Any
) -> AsyncGenerator[Arena]:
    """Put everything up; at the end the workers have to stop in good order."""
    redis = MortalRedis(folder)
    try:
        await redis.start()
        async with arena_over(redis.url, folder, seed, workers=workers, **settings) as it:
            it.mortal = redis
            yield it
    finally:
        await redis.kill()


@asynccontextmanager
async def arena_over(
    url: str, folder: Path, seed: int, *, workers: int = 2, **settings: Any
) -> AsyncGenerator[Arena]:
    """The same over a Redis that somebody else puts up."""
    client = connect(Settings(namespace=NAMESPACE, redis_url=SecretStr(url)))
    try:
        async with (
            running(SandboxConfig(limit=0, credits=10**9, seed=seed)) as sandbox,
            _peopled(client, url, sandbox, folder, settings) as (system, fleet),
        ):
            await fleet.start(workers)
            yield Arena(system, fleet, random.Random(seed))  # noqa: S311  a schedule
            await fleet.stop()
            assert set(fleet.exit_codes) == {0}, fleet.errors()[-3:]
    finally:
        await _close(client)


async def _close(client: ArqRedis) -> None:
    """Close a client, and the connections to a Sentinel through which it found its Redis."""
    await client.aclose(close_connection_pool=True)
    through = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in through.sentinels if through else ():
        await sentinel.aclose()


@asynccontextmanager
async def _peopled(
    client: ArqRedis, url: str, sandbox: str, folder: Path, changes: dict[str, Any]
) -> AsyncGenerator[tuple[Stack, Fleet]]:
    given: dict[str, Any] = {
        "lease_s": 2,
        "max_jobs": 30,
        "log_format": "json",
        "log_level": "warning",
        "api_keys": dict[str, SecretStr](),
    }
    async with stack(client, url, NAMESPACE, sandbox, **(given | changes)) as system:
        fleet = Fleet(system.settings, system.store, folder)
        try:
            yield system, fleet
        finally:
            fleet.abandon()
            await asyncio.gather(*(process.wait() for process in fleet.running))
