"""Runs services for as long as the worker lives; one that raises is restarted with backoff."""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs.backoff import Backoff
from worker.clock import Clock
from worker.engine.wakeups import Wakeup
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

RESTART_BACKOFF: Final = Backoff(base_s=0.2, cap_s=10.0)


MIN_TICK_PAUSE_S: Final = 0.02
"""Least pause between two ticks of a service: what comes meanwhile is done together, and costs less
the more there is."""


class Service(Protocol):
    """One small job of a worker."""

    @property
    def name(self) -> str:
        """What it is called in logs and health reports."""
        ...

    @property
    def wakeup(self) -> Wakeup:
        """What wakes it before its pause is over."""
        ...

    async def tick(self, now: float) -> float:
        """Do what is to be done now; returns the seconds until it should look again."""
        ...


class Supervisor:
    """Keeps services going, and knows which of them are in trouble.

    `breaths`: by name, the least pause of services that have another than `BREATH_S`, in seconds.
    """

    def __init__(
        self,
        services: Sequence[Service],
        clock: Clock,
        min_pauses_s: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.services = services
        self._clock = clock
        self._min_pauses_s = min_pauses_s
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: dict[str, str] = {}

    @property
    def failing(self) -> dict[str, str]:
        """Services whose last tick raised, with the error's class."""
        return dict(self._failing)

    def start(self) -> None:
        """Start every service."""
        self._tasks = [
            asyncio.create_task(self._run(service), name=service.name) for service in self.services
        ]

    async def stop(self, names: Sequence[str] | None = None) -> None:
        """Stop services (all by default) and wait until they have."""
        chosen = [t for t in self._tasks if names is None or t.get_name() in names]
        await cancel_and_wait(*chosen)

    async def _run(self, service: Service) -> None:
        failures, breath_s = 0, self._min_pauses_s.get(service.name, MIN_TICK_PAUSE_S)
        while not is_being_cancelled():
            try:
                pause = await service.tick(self._clock.now())
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                failures += 1
                pause = RESTART_BACKOFF.wait_s(failures, 0.5 + self._clock.jitter() / 2)
                self._record_failure(service.name, error, pause)
                await asyncio.sleep(pause)
                continue
            if failures:
                failures = 0
                del self._failing[service.name]
                log.info("service.recovered", service=service.name)
            await asyncio.sleep(breath_s)
            await service.wakeup.wait(pause - breath_s)

    def _record_failure(self, name: str, error: Exception, pause: float) -> None:
        known = self._failing.get(name)
        self._failing[name] = type(error).__name__
        facts = {"service": name, "error": type(error).__name__, "again_in_s": round(pause, 2)}
        if isinstance(error, (RedisError, OSError)):
            if known is None:
                log.warning("service.interrupted", detail=str(error), **facts)
        else:
            log.error("service.failed", exc_info=error, **facts)
