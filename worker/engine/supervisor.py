"""Runs services until the process stops; a service that raises is restarted with a backoff."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs.backoff import Backoff
from worker.clock import Clock
from worker.engine.wakeups import Wakeup
from worker.store.refusals import error_word
from worker.tasks import cancel_and_wait, is_being_cancelled

log: Final = structlog.get_logger(__name__)

RESTART_BACKOFF: Final = Backoff(base_s=0.2, cap_s=10.0)

OUTAGE_BACKOFF: Final = Backoff(base_s=0.2, cap_s=1.0)
"""While Redis does not answer: once it does, leases have to be extended before they are judged."""


MIN_TICK_PAUSE_S: Final = 0.02
"""Least pause between two ticks of a service: what comes in between is handled together, which
costs less per item the more there is."""


WAIT_S: Final = 0.5
"""How long a service waits that may not run."""


class Service(Protocol):
    """One background job of a process."""

    @property
    def name(self) -> str:
        """Its name in logs and health reports."""
        ...

    @property
    def wakeup(self) -> Wakeup:
        """Ends the pause between two ticks early."""
        ...

    async def tick(self, now: float) -> float:
        """Do what is due at `now` (Unix seconds); returns the seconds until the next tick."""
        ...


class ServiceHealth:
    """Which services of a process fail. The supervisor writes it, the heartbeat reports it."""

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}

    @property
    def failing(self) -> dict[str, str]:
        """Services whose last tick raised, with the error's class name; other problems in words."""
        return dict(self._failing)

    def record_failure(self, service: str, error: Exception) -> bool:
        """Note an error; returns whether the service was healthy before."""
        was_healthy = service not in self._failing
        self._failing[service] = error_word(error)
        return was_healthy

    def record_problem(self, name: str, text: str) -> None:
        """Note what something else than a service cannot do, in words that may be shown."""
        self._failing[name] = text

    def record_recovery(self, service: str) -> None:
        """Note that the last tick of a service succeeded."""
        self._failing.pop(service, None)


class Supervisor:
    """Keeps services running.

    `min_pauses_s`: by name, the least pause between two ticks, where it is not `MIN_TICK_PAUSE_S`.
    `may_tick`: whether a service, by name, may run now; asked again after `WAIT_S`.
    """

    def __init__(
        self,
        services: Sequence[Service],
        clock: Clock,
        health: ServiceHealth,
        min_pauses_s: Mapping[str, float] = MappingProxyType({}),
        may_tick: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.services = services
        self._clock = clock
        self._health = health
        self._min_pauses_s = min_pauses_s
        self._may_tick = may_tick
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start every service."""
        self._tasks = [
            asyncio.create_task(self._run(service), name=service.name) for service in self.services
        ]

    async def stop(self, names: Sequence[str] | None = None) -> None:
        """Stop services (all by default) and wait until they have ended."""
        chosen = [t for t in self._tasks if names is None or t.get_name() in names]
        await cancel_and_wait(*chosen)

    async def _run(self, service: Service) -> None:
        failures, min_pause_s = 0, self._min_pauses_s.get(service.name, MIN_TICK_PAUSE_S)
        while not is_being_cancelled():
            try:
                is_allowed = self._may_tick(service.name)
                pause = await service.tick(self._clock.now()) if is_allowed else WAIT_S
            except Exception as error:  # noqa: BLE001 - the service goes on after any error
                failures += 1
                pause = _backoff(error).wait_s(failures, 0.5 + self._clock.jitter() / 2)
                self._record_failure(service.name, error, pause)
                await asyncio.sleep(pause)
                continue
            if failures:
                failures = 0
                self._health.record_recovery(service.name)
                log.info("service.recovered", service=service.name)
            await asyncio.sleep(min_pause_s)
            await service.wakeup.wait(pause - min_pause_s)

    def _record_failure(self, name: str, error: Exception, pause: float) -> None:
        was_healthy = self._health.record_failure(name, error)
        facts = {"service": name, "error": error_word(error), "retry_in_s": round(pause, 2)}
        if _is_outage(error):
            if was_healthy:
                log.warning("service.interrupted", detail=str(error), **facts)
        else:
            log.error("service.failed", exc_info=error, **facts)


def _is_outage(error: Exception) -> bool:
    """Whether Redis did not answer, or refused: no fault of the service."""
    return isinstance(error, (RedisError, OSError))


def _backoff(error: Exception) -> Backoff:
    return OUTAGE_BACKOFF if _is_outage(error) else RESTART_BACKOFF
