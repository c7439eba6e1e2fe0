"""The worker as an arq worker: arq's settings, and what arq lacks.

Start it with `knouds-worker worker`, or with `arq worker.main.WorkerSettings`.

arq only carries wake-ups: its own retries, results and aborts are switched off.
"""

import asyncio
import functools
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

import arq.worker
import structlog
import uvloop
from arq import ArqRedis
from arq.worker import Function, Retry, Worker, func
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker import import_guard

import_guard.check()  # arq's command imports this module first: a foreign `config` stops here

from config.environment import load
from config.logging import configure_logging
from config.settings import Settings, SettingsError
from worker.compose.app import payload_cipher
from worker.compose.provider import http_options
from worker.compose.runtime import Runtime
from worker.compose.worker import build
from worker.doctor.startup import require_usable
from worker.redis.connect import NoRedisError, connect
from worker.redis.connection_pool import ONLY_REPLICAS
from worker.redis.connection_problems import (
    ConnectionProblem,
    UnreachableRedis,
    connection_problem,
)
from worker.redis.primary import Primary
from worker.store import open_store
from worker.store.arq_codec import FUNCTIONS, deserialize, serialize
from worker.store.client import Client
from worker.store.refusals import error_word, redis_refusal
from worker.tasks import cancel_and_wait, is_being_cancelled

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

log: Final = structlog.get_logger(__name__)

POLL_DELAY_S: Final = 0.01
"""Least pause between two reads of arq's queue."""

QUEUE_POLL_S: Final = 0.2
"""How often arq's queue is read without a wake-up: apps with plain arq send none."""

SUBMIT_OVERHEAD_S: Final = 60.0
"""How long arq lets the submit step take beyond the timeout of the request itself."""

QUEUE_READ_LIMIT: Final = 10_000
"""Entries arq reads: running ones stay at the head, so it must exceed those of all workers."""

SYNC_ENTRY_SLOTS: Final = 16
"""arq's slots beyond those of async submits: an entry of sync runs takes one only until their
connections are being opened, and must not wait for slow async submits."""

REDIS_RETRY_S: Final = 1.0
FAILED_RETRY_S: Final = 60.0
"""Pause before a job of an app is tried again that could not be enqueued, by a fault of ours."""


REPORT_EVERY: Final = 10
"""Of the tries to reach Redis at the start, which take seconds, one in so many is logged."""


class ResilientArqWorker(Worker):
    """arq's worker; it survives an outage of Redis that is longer than the client's retries."""

    _is_stopping = False

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        """Take no more work and finish what is under way; further signals shorten the wait."""
        runtime: Runtime | None = self.ctx.get("runtime")
        if runtime is not None:
            runtime.request_stop()
        if not self._is_stopping:
            self._is_stopping = True
            super().handle_sig_wait_for_completion(signum)

    async def main(self) -> None:
        """Run; an outage while it starts delays it, however long."""
        while True:
            try:
                await Client(self.pool).call("PING")
                break
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                _log_interrupted(error)
                await asyncio.sleep(REDIS_RETRY_S)
        await super().main()

    async def _wait_for_tasks_to_complete(self, signum: signal.Signals) -> None:
        """Wait as arq does, then cancel its loop until it ends: one cancel can be lost."""
        await super()._wait_for_tasks_to_complete(signum)
        if self.main_task is not None:
            await cancel_and_wait(self.main_task)

    async def _poll_iteration(self) -> None:
        if is_being_cancelled():
            raise asyncio.CancelledError
        runtime: Runtime | None = self.ctx.get("runtime")
        if runtime is not None:
            await runtime.context.wakeups.arq_queue.wait(QUEUE_POLL_S)
            if not self._is_stopping:
                self.allow_pick_jobs = runtime.takes_work
        try:
            await super()._poll_iteration()
        except (RedisError, OSError) as error:
            _log_interrupted(error)
            self._recount_running()
            await asyncio.sleep(REDIS_RETRY_S)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start what does not run here yet: an entry stays in the queue while it runs."""
        await super().start_jobs(
            [i for i in job_ids if i.decode(errors="replace") not in self.tasks]
        )

    async def close(self) -> None:
        """Close always: arq's own `close` stops half-way when one of its tasks was cancelled."""
        await cancel_and_wait(*self.tasks.values())
        self.tasks.clear()
        await super().close()

    def _recount_running(self) -> None:
        """Count the slots again: an interrupted iteration may have taken some for no task."""
        for task in self.tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                log.warning("arq.interrupted", error=error_word(error))
        running = [task for task in self.tasks.values() if not task.done()]
        self.tasks = {name: task for name, task in self.tasks.items() if not task.done()}
        self.sem = asyncio.BoundedSemaphore(self.max_jobs + 1)
        self.sem._value -= len(running)  # noqa: SLF001 - arq offers no other way to count again
        self.job_counter = len(running)


def _log_interrupted(error: Exception) -> None:
    refusal = redis_refusal(error)
    facts = {"why": refusal.reason, "fix": refusal.fix} if refusal else {}
    log.warning("arq.interrupted", error=error_word(error), **facts)


def _is_not_call_line(record: logging.LogRecord) -> bool:
    """Whether to keep a log line: arq's line about a call contains the arguments."""
    return "→" not in str(record.msg)


def arq_settings(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of arq's `Worker`. Raises SettingsError, NoRedisError."""
    http_options(settings)  # a proxy or a CA file that cannot be used ends the start here
    primary = Primary()

    async def on_startup(ctx: dict[str, Any]) -> None:
        runtime = build(settings, ctx["redis"], primary)
        ctx["runtime"] = runtime  # before its start: a stop signal during it has to end it, too
        ctx.update(runtime.arq_context())
        await runtime.start()
        gc.collect()
        gc.freeze()  # what exists now stays: the collector need not visit it again

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        runtime: Runtime | None = ctx.get("runtime")
        if runtime is not None:
            await runtime.stop()

    logging.getLogger("arq.worker").addFilter(_is_not_call_line)
    timeout = settings.submit_timeout_s + SUBMIT_OVERHEAD_S
    return {
        "functions": [_arq_function(name, timeout) for name in FUNCTIONS],
        "redis_pool": connect(settings, primary=primary),
        "queue_name": f"{settings.namespace}:queue",
        "on_startup": on_startup,
        "on_shutdown": on_shutdown,
        "max_jobs": settings.max_jobs + SYNC_ENTRY_SLOTS,
        "poll_delay": POLL_DELAY_S,
        "queue_read_limit": QUEUE_READ_LIMIT,
        "job_completion_wait": max(1, int(settings.submit_timeout_s) + 1),
        "job_timeout": timeout,
        "max_tries": 1_000_000,
        "keep_result": 0,
        "retry_jobs": True,
        "allow_abort_jobs": False,
        "log_results": False,
        "health_check_interval": 60,
        "job_serializer": serialize,
        "job_deserializer": deserialize,
    }


def _arq_function(name: str, timeout_s: float) -> Function:
    function = cast("WorkerCoroutine", _repeated(FUNCTIONS[name]))
    return func(function, name=name, timeout=timeout_s, keep_result=0)


def _repeated(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The function, called again later where it raises: arq would forget what an app enqueued."""

    @functools.wraps(function)
    async def call(ctx: dict[str, Any], *args: Any, **options: Any) -> Any:
        try:
            return await function(ctx, *args, **options)
        except (RedisError, OSError) as error:
            log.warning("arq_job.deferred", arq_id=ctx["job_id"], error=error_word(error))
            raise Retry(REDIS_RETRY_S) from error
        except Exception as error:
            log.exception("arq_job.failed", arq_id=ctx["job_id"], error=type(error).__name__)
            raise Retry(FAILED_RETRY_S) from error

    return call


async def require_redis(settings: Settings, redis: ArqRedis) -> None:
    """Return when Redis can be used, however long it is away or loads its data.

    A replica may become the primary, so it is waited for, too. Raises UnusableRedis or
    UnreachableRedis where only other settings help, with what to do.
    """
    failures = 0
    while True:
        try:
            problems = await require_usable(
                open_store(redis, settings.namespace, cipher=payload_cipher(settings))
            )
            if not any(problem.code in ONLY_REPLICAS for problem in problems):
                return
            found = ConnectionProblem(problems[0].reason, problems[0].fix)
        except (RedisError, OSError) as error:
            found = await connection_problem(error, settings.plain_redis_url)
            if not found.may_pass:
                raise UnreachableRedis(found.line) from None
        if failures % REPORT_EVERY == 0:
            log.warning("redis.awaited", why=found.text, fix=found.fix)
        failures += 1
        await asyncio.sleep(REDIS_RETRY_S)


def run(settings: Settings) -> int:
    """Run a worker until a stop signal; returns the exit code.

    Raises UnusableRedis where Redis can never be used, UnreachableRedis where it refuses the login.
    """
    configure_logging(
        settings.log_format,
        settings.log_level,
        sys.stderr,
        secrets=settings.secret_values,
        for_good=True,
    )
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    options = arq_settings(settings)
    loop.run_until_complete(require_redis(settings, options["redis_pool"]))
    worker = ResilientArqWorker(**options)
    worker.run()
    return 0


def __getattr__(name: str) -> Any:
    """Make `WorkerSettings` when arq asks for it: importing this module reads no settings."""
    if name != "WorkerSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = load()
        configure_logging(
            settings.log_format,
            settings.log_level,
            sys.stderr,
            secrets=settings.secret_values,
            for_good=True,
        )
        # arq's command makes the class of this name; its own ends when Redis restarts.
        arq.worker.Worker = ResilientArqWorker  # type: ignore[misc]
        return type("WorkerSettings", (), arq_settings(settings))
    except (SettingsError, NoRedisError) as error:
        sys.exit(f"knouds-worker: {error}")
