"""A whole system for a test: sandbox, Redis, workers, and the use cases."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from jobs.job import Job
from jobs.lanes import JobId
from jobs.requests import JobRequest
from jobs.states import SETTLED_OR_PARKED, Kind, State
from worker.app.actions import Actions, Actor
from worker.app.enqueue import Enqueuer
from worker.app.queries import Queries
from worker.clock import SystemClock
from worker.compose.app import build_enqueuer, build_use_cases, payload_cipher
from worker.compose.runtime import Runtime
from worker.engine.services.redis_recovery import RedisRecovery
from worker.main import ResilientArqWorker, arq_settings
from worker.provider.knouds.error_rows import ERROR_CODES
from worker.store import Store, open_store
from worker.store.read.filter import Filter
from worker.tasks import cancel_and_wait

WITHIN_S = 15.0

OPERATOR = Actor("somebody", "for the test")


async def wait_until(
    claim: Callable[[], Awaitable[bool]],
    what: str,
    within_s: float = WITHIN_S,
) -> None:
    """Return as soon as a claim is true; fail with what never came."""
    try:
        async with asyncio.timeout(within_s):
            while not await claim():  # noqa: ASYNC110 - the claim is about another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never came within {within_s} s: {what}") from None


@dataclass
class LiveSystem:
    """A running system, and what a test does with it."""

    settings: Settings
    redis: ArqRedis
    store: Store
    enqueuer: Enqueuer
    actions: Actions
    queries: Queries
    sandbox_url: str
    http: aiohttp.ClientSession

    async def enqueue(
        self,
        target: str = "gpt-image-2",
        *,
        kind: Kind = Kind.MODEL,
        label: str = "",
        job_id: str | None = None,
        **options: Any,
    ) -> str:
        """Enqueue a job; options that are no fields of a request go to the sandbox."""
        request = self.request(target, kind=kind, label=label or (job_id or ""), **options)
        enqueued = await self.enqueuer.enqueue(request, job_id=JobId(job_id) if job_id else None)
        return enqueued.job.id

    def request(
        self, target: str = "gpt-image-2", *, kind: Kind = Kind.MODEL, label: str, **options: Any
    ) -> JobRequest:
        """A job request whose inputs say what the sandbox does."""
        fields = set(JobRequest.__dataclass_fields__)
        own = {name: value for name, value in options.items() if name in fields}
        behaviour = {"label": label, "duration_s": 0.05} | {
            name: value for name, value in options.items() if name not in fields
        }
        inputs = msgspec.json.encode({"product_image": "x", "sandbox": behaviour}, order="sorted")
        return JobRequest(kind=kind, target=target, inputs=inputs, **own)

    async def job(self, job_id: str) -> Job:
        """The job as it is now."""
        stored = await self.store.jobs.load(job_id)
        assert stored is not None, f"job {job_id} is lost"
        return stored.job

    async def until(self, job_id: str, *states: State, within_s: float = WITHIN_S) -> Job:
        """Wait until a job is in one of the states (default: settled or parked)."""
        wanted = states or tuple(SETTLED_OR_PARKED)

        async def is_in_state() -> bool:
            return (await self.job(job_id)).state in wanted

        await wait_until(is_in_state, f"{job_id} {'/'.join(wanted)}", within_s)
        return await self.job(job_id)

    async def until_on_record(self, job_id: str) -> Job:
        """Wait until a job has a record."""

        async def is_on_record() -> bool:
            return await self.store.jobs.load(job_id) is not None

        await wait_until(is_on_record, f"a record of {job_id}")
        return await self.job(job_id)

    async def all_until(
        self, job_ids: Sequence[str], *states: State, within_s: float = WITHIN_S
    ) -> list[Job]:
        """Wait until each job is in one of the states (default: settled or parked)."""
        return list(
            await asyncio.gather(
                *(self.until(job_id, *states, within_s=within_s) for job_id in job_ids)
            )
        )

    async def counts(self) -> dict[State, int]:
        """How many jobs are in each state that has any."""
        states, _ = await self.store.read.queries.state_counts()
        return {state: count for state, count in states.items() if count}

    async def jobs_matching(self, **filters: Any) -> list[Job]:
        """Every job that matches a filter."""
        page = await self.store.read.queries.page(Filter(**filters), 5000)
        return list(page.jobs)

    async def indexes_with(self, job_id: str) -> list[str]:
        """Every sorted set of the namespace that holds a job."""
        found: list[str] = []
        for key in await self.keys():
            if await self.store.client.call("TYPE", key) != b"zset":
                continue
            if await self.store.client.call("ZSCORE", key, job_id) is not None:
                found.append(key)
        return found

    async def keys(self) -> list[str]:
        """Every key of the namespace."""
        found: set[str] = set()
        cursor, pattern = b"0", f"{self.settings.namespace}:*"
        while True:
            cursor, page = await self.store.client.call("SCAN", cursor, "MATCH", pattern)
            found |= {key.decode() for key in page}
            if int(cursor) == 0:
                return sorted(found)

    # The sandbox.

    async def ledger(self, label: str) -> dict[str, Any]:
        """What the provider counted for a label: posts, started, charged, polls, cancels."""
        async with self.http.get(
            f"{self.sandbox_url}/_sandbox/ledger", params={"label": label}
        ) as answer:
            labels = (await answer.json())["labels"]
            found: dict[str, Any] = labels.get(label, {"posts": 0, "started": 0})
            return found

    async def labels(self) -> dict[str, dict[str, Any]]:
        """What the provider counted, for every label."""
        async with self.http.get(f"{self.sandbox_url}/_sandbox/ledger") as answer:
            found: dict[str, dict[str, Any]] = (await answer.json())["labels"]
            return found

    async def sandbox_admin(self, path: str, **body: Any) -> dict[str, Any]:
        """Make an admin call."""
        async with self.http.post(f"{self.sandbox_url}/_sandbox/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            reply: dict[str, Any] = await answer.json()
            return reply

    # Workers.

    @asynccontextmanager
    async def worker(self, **changes: Any) -> AsyncGenerator[ResilientArqWorker]:
        """A worker in this process, for as long as the block lasts."""
        settings = self.settings.model_copy(update=changes)
        worker = ResilientArqWorker(**arq_settings(settings), handle_signals=False)
        task = asyncio.create_task(worker.async_run())
        try:
            yield worker
        finally:
            await cancel_and_wait(task)
            await worker.close()

    @asynccontextmanager
    async def processes(self, count: int, **changes: Any) -> AsyncGenerator[list[int]]:
        """Worker processes; stopped by SIGTERM, they have to exit 0."""
        settings = self.settings.model_copy(update=changes)
        running = [await start_worker(settings) for _ in range(count)]

        async def all_live() -> bool:
            return len(await self.queries.live_workers()) == count

        try:
            await wait_until(all_live, f"{count} workers")
            yield [process.pid for process in running]
        finally:
            for process in running:
                process.terminate()
            codes = [await process.wait() for process in running]
        assert codes == [0] * count

    @asynccontextmanager
    async def worker_to_kill(self, **changes: Any) -> AsyncGenerator[asyncio.subprocess.Process]:
        """A worker process that the block has to kill."""
        process = await start_worker(self.settings.model_copy(update=changes))

        async def lives() -> bool:
            return bool(await self.queries.live_workers())

        try:
            await wait_until(lives, "the worker lives")
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def start_worker(settings: Settings) -> asyncio.subprocess.Process:
    """Start a worker process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker.cli.main",
        "worker",
        env=environment(settings),
        stderr=subprocess.DEVNULL,
    )


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables."""
    given = settings.model_dump(exclude_defaults=True, exclude={"api_keys"})
    found = {
        f"KNOUDS_{name.upper()}": str(value.get_secret_value())
        if isinstance(value, SecretStr)
        else msgspec.json.encode(value).decode()
        if isinstance(value, dict)
        else str(value)
        for name, value in given.items()
    }
    keys = {label: key.get_secret_value() for label, key in settings.api_keys.items()}
    path = {"PATH": os.environ["PATH"], "KNOUDS_API_KEYS": msgspec.json.encode(keys).decode()}
    return found | path


@asynccontextmanager
async def live_system(
    redis: ArqRedis, redis_url: str, namespace: str, sandbox: str, **changes: Any
) -> AsyncGenerator[LiveSystem]:
    """Build a system around a running sandbox."""
    settings = Settings(
        redis_url=SecretStr(redis_url),
        namespace=namespace,
        base_url=sandbox,
        api_key=SecretStr("knouds_live_sandbox"),
        api_keys={"studio": SecretStr("knouds_live_business")},
        poll_min_s=0.1,
        poll_max_s=0.5,
        retry_base_s=0.02,
        retry_cap_s=0.1,
        shutdown_grace_s=2,
        start_check=False,
    ).model_copy(update=changes)
    store = open_store(redis, namespace, ERROR_CODES, cipher=payload_cipher(settings))
    clock = SystemClock()
    async with aiohttp.ClientSession() as http:
        yield LiveSystem(
            settings=settings,
            redis=redis,
            store=store,
            enqueuer=build_enqueuer(settings, store, clock),
            actions=Actions(store, clock),
            queries=build_use_cases(settings, store, clock).queries,
            sandbox_url=sandbox,
            http=http,
        )


async def redis_recovery(worker: ResilientArqWorker) -> RedisRecovery:
    """What restores the data of Redis, in a worker of this process."""

    async def started() -> bool:
        return "runtime" in worker.ctx

    await wait_until(started, "the worker runs")
    runtime: Runtime = worker.ctx["runtime"]
    (found,) = (one for one in runtime.supervisor.services if isinstance(one, RedisRecovery))
    return found
