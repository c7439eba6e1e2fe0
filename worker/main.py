"""The worker: arq's settings around our runtime.

Start it with `knouds-worker worker`, or with `arq worker.main.WorkerSettings`.

arq carries wake-ups, not truth: its own retries, results and aborts are kept out of the way.
"""

import asyncio
import gc
import logging
import signal
import sys
from typing import Any, Final

import structlog
import uvloop
from arq.worker import Function, Worker, func
from redis.exceptions import RedisError

from worker import import_guard

import_guard.check()  # arq's command imports this module first: somebody else's `config` stops here

from config.logging import configure_logging
from config.settings import Settings, SettingsError, load
from worker.compose.worker import Runtime, build
from worker.redis.connect import NoRedisError, connect
from worker.store.arq_codec import FUNCTIONS, deserialize, serialize
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

POLL_DELAY_S: Final = 0.01
"""Least pause between two looks at arq's queue."""

QUEUE_POLL_S: Final = 0.2
"""How often arq's queue is looked at when nobody rings: apps with plain arq ring no bell."""

SUBMIT_OVERHEAD_S: Final = 60.0
"""A hop may take this long beyond the submit's own timeout; it has timeouts of its own inside."""

QUEUE_READ_LIMIT: Final = 10_000
"""Entries arq looks at: running ones stay at the head, so it must exceed the fleet's total."""

REDIS_RETRY_S: Final = 1.0


class ResilientArqWorker(Worker):
    """arq's worker, which goes on polling when Redis was away longer than the client's retries."""

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        """Take nothing more on, finish what is under way; a second signal hurries."""
        runtime: Runtime | None = self.ctx.get("runtime")
        if runtime is not None:
            runtime.request_stop()
        if self.allow_pick_jobs:
            super().handle_sig_wait_for_completion(signum)

    async def _poll_iteration(self) -> None:
        if is_being_cancelled():
            raise asyncio.CancelledError
        runtime: Runtime | None = self.ctx.get("runtime")
        if runtime is not None:
            await runtime.wakeups.arq_queue.wait(QUEUE_POLL_S)
        try:
            await super()._poll_iteration()
        except (RedisError, OSError) as error:
            log.warning("arq.interrupted", error=type(error).__name__)
            self._recount_running()
            await asyncio.sleep(REDIS_RETRY_S)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start what does not run here yet: entries stay in the queue while they run."""
        await super().start_jobs(
            [i for i in job_ids if i.decode(errors="replace") not in self.tasks]
        )

    async def close(self) -> None:
        """Close in any case: arq's own stops half-way when a task of it was cancelled."""
        await cancel_and_wait(*self.tasks.values())
        self.tasks.clear()
        await super().close()

    def _recount_running(self) -> None:
        """A poll that broke off may leave a slot taken by nobody, and errors nobody asked for."""
        for task in self.tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                log.warning("arq.interrupted", error=type(error).__name__)
        running = [task for task in self.tasks.values() if not task.done()]
        self.tasks = {name: task for name, task in self.tasks.items() if not task.done()}
        self.sem = asyncio.BoundedSemaphore(self.max_jobs + 1)
        self.sem._value -= len(running)  # noqa: SLF001 - arq offers no other way to count again
        self.job_counter = len(running)


def _is_not_call_line(record: logging.LogRecord) -> bool:
    """Drop the line with which arq announces a call: it spells out the arguments."""
    return "→" not in str(record.msg)


def arq_settings(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of arq's `Worker`."""

    async def on_startup(ctx: dict[str, Any]) -> None:
        runtime = build(settings, ctx["redis"])
        ctx["runtime"] = runtime  # before it starts: told to stop meanwhile, it has to end, too
        ctx.update(runtime.context())
        await runtime.start()
        gc.collect()
        gc.freeze()  # what stands now stays: the collector need not look at it again

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        runtime: Runtime | None = ctx.get("runtime")
        if runtime is not None:
            await runtime.stop()

    logging.getLogger("arq.worker").addFilter(_is_not_call_line)
    timeout = settings.submit_timeout_s + SUBMIT_OVERHEAD_S
    return {
        "functions": [_arq_function(name, timeout) for name in FUNCTIONS],
        "redis_pool": connect(settings),
        "queue_name": f"{settings.namespace}:queue",
        "on_startup": on_startup,
        "on_shutdown": on_shutdown,
        "max_jobs": settings.max_jobs,
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
    return func(FUNCTIONS[name], name=name, timeout=timeout_s, keep_result=0)


def run(settings: Settings) -> int:
    """Run a worker until it is told to stop; returns the exit code.

    Raises `redis.exceptions.RedisError` where Redis cannot be reached at the start.
    """
    configure_logging(
        settings.log_format, settings.log_level, sys.stderr, secrets=settings.secret_values
    )
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    wanted = arq_settings(settings)
    loop.run_until_complete(wanted["redis_pool"].ping())
    worker = ResilientArqWorker(**wanted)
    worker.run()
    return 0


def __getattr__(name: str) -> Any:
    """Make `WorkerSettings` when arq asks for it: importing this module reads no settings."""
    if name != "WorkerSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = load()
        configure_logging(
            settings.log_format, settings.log_level, sys.stderr, secrets=settings.secret_values
        )
        return type("WorkerSettings", (), arq_settings(settings))
    except (SettingsError, NoRedisError) as error:
        sys.exit(f"knouds-worker: {error}")
