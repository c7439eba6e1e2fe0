"""The schedule ticker: enqueues the jobs of schedules when their ticks are due.

Every worker runs it, and none needs a lease: the job of a tick and the tick are written in one
step, which compares what was read, so that of several workers one writes. While nothing changes it
reads one number every `IDLE_S`.
"""

from typing import Final, Protocol, assert_never

import structlog
from redis.exceptions import RedisError

from jobs.batches import BatchSealed
from jobs.job import Job
from jobs.schedules.cron import next_tick
from jobs.schedules.due import RunTick, SkipTicks, due_steps
from jobs.schedules.record import Schedule, ScheduleChange, Skip, SkipCause
from worker.engine.wakeups import Wakeup
from worker.store import Store
from worker.store.events import ScheduleNotice
from worker.store.schedules import TickResult

log: Final = structlog.get_logger(__name__)

IDLE_S: Final = 5.0
"""Longest pause between two ticks: a schedule that was set meanwhile is found after it."""

RETRY_S: Final = 30.0
"""Pause of a schedule that cannot be handled, so that it harms no other."""

SHOWN_CHARS: Final = 300


class TickJobs(Protocol):
    """Makes the jobs of ticks, see `worker.app.schedule_jobs`."""

    def job_of_tick(self, schedule: Schedule, inputs: bytes, tick: int, now: float) -> Job:
        """The job of a tick (Unix seconds); raises ValueError with the field and the fix."""
        ...


class ScheduleTicker:
    """Advances every schedule of the namespace."""

    name = "schedule_ticker"

    def __init__(self, store: Store, jobs: TickJobs, admission: Wakeup) -> None:
        self._store = store.schedules
        self._metrics = store.metrics.buffer
        self._jobs = jobs
        self._admission = admission
        self._version = 0
        self._due_at: dict[str, float] = {}
        """Name → when to handle the schedule next; absent for those without a next tick."""
        self._schedules: dict[str, Schedule] = {}
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Handle the ticks that are due; returns the seconds until the next ones are."""
        if await self._store.version() != self._version:
            await self._load(now)
        for name in [name for name, at in self._due_at.items() if at <= now]:
            await self._handle(self._schedules[name], now)
        return min(IDLE_S, max(0.0, min(self._due_at.values(), default=now + IDLE_S) - now))

    async def _load(self, now: float) -> None:
        """Read every schedule; each that makes jobs is handled at once, to know its next tick."""
        found = await self._store.read()
        self._schedules = {
            one.name: one for one in found.schedules if one.enabled and not one.error
        }
        self._due_at = dict.fromkeys(self._schedules, now)
        self._version = found.version

    async def _handle(self, schedule: Schedule, now: float) -> None:
        """Do what is due of one schedule; a fault of its own stops no other."""
        try:
            highest = await self._advance(schedule, now)
            following = next_tick(schedule.cron, schedule.time_zone, highest or schedule.since)
        except (RedisError, OSError):
            raise
        except Exception as error:
            log.error("schedule.failed", schedule=schedule.name, exc_info=error)  # noqa: TRY400
            self._due_at[schedule.name] = now + RETRY_S
            return
        if following is None:
            self._due_at.pop(schedule.name, None)
        else:
            # After a lost race the version or the highest tick is another one: read it again.
            self._due_at[schedule.name] = max(float(following), now + (following <= now))

    async def _advance(self, schedule: Schedule, now: float) -> int:
        """Enqueue or leave out what is due, step by step; returns the highest tick then."""
        (highest,) = await self._store.highest_ticks([schedule.name])
        steps = due_steps(schedule, highest or schedule.since, now)
        if not steps:
            return highest
        inputs = await self._store.inputs(schedule.name)
        for step in steps:
            match step:
                case SkipTicks():
                    skip = Skip(cause=step.cause, tick=step.tick, at=now, count=step.ticks)
                    is_done = await self._skip(schedule, highest, skip)
                case RunTick():
                    is_done = await self._run(schedule, highest, step.tick, inputs, now)
                case _:
                    assert_never(step)
            if not is_done:
                return (await self._store.highest_ticks([schedule.name]))[0]
            highest = step.tick
        return highest

    async def _run(
        self, schedule: Schedule, highest: int, tick: int, inputs: bytes | None, now: float
    ) -> bool:
        """Enqueue the job of a tick, or leave it out and say why; False after a lost race."""
        if inputs is None:
            message = (
                "its inputs are lost, or no key of KNOUDS_PAYLOAD_KEYS reads them: set it anew"
            )
            skip = Skip(cause=SkipCause.REFUSED, tick=tick, at=now, message=message)
            return await self._skip(schedule, highest, skip)
        try:
            job = self._jobs.job_of_tick(schedule, inputs, tick, now)
        except ValueError as error:
            message = str(error)[:SHOWN_CHARS]
            skip = Skip(cause=SkipCause.REFUSED, tick=tick, at=now, message=message)
            return await self._skip(schedule, highest, skip)
        try:
            result = await self._store.enqueue_tick(schedule, highest, tick, job, inputs)
        except BatchSealed as error:
            skip = Skip(cause=SkipCause.REFUSED, tick=tick, at=now, message=f"batch: {error}")
            return await self._skip(schedule, highest, skip)
        match result:
            case TickResult.ENQUEUED:
                self._metrics.schedule_ticked("enqueued")
                self._admission.notify()
                log.info("schedule.enqueued", schedule=schedule.name, job_id=job.id, tick=tick)
                return True
            case TickResult.OVERLAP:
                earlier = await self._store.open_jobs(schedule.name, 1)
                message = earlier[0] if earlier else ""
                skip = Skip(cause=SkipCause.OVERLAP, tick=tick, at=now, message=message)
                return await self._skip(schedule, highest, skip)
            case TickResult.ID_TAKEN:
                skip = Skip(cause=SkipCause.ID_TAKEN, tick=tick, at=now, message=job.id)
                return await self._skip(schedule, highest, skip)
            case TickResult.SUPERSEDED:
                return False
            case _:
                assert_never(result)

    async def _skip(self, schedule: Schedule, highest: int, skip: Skip) -> bool:
        if not await self._store.skip(schedule, highest, skip):
            return False
        self._metrics.schedule_ticked(skip.cause, skip.count)
        log.warning(
            "schedule.skipped",
            schedule=schedule.name,
            cause=skip.cause.value,
            tick=skip.tick,
            count=skip.count,
        )
        await self._store.announce(
            ScheduleNotice(
                name=schedule.name,
                lane=str(schedule.lane),
                change=ScheduleChange(skip.cause.value),
                at=skip.at,
                tick=skip.tick,
                count=skip.count,
            )
        )
        return True
