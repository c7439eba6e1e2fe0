"""Schedules for people: set, remove, run and list them, each change with its audit entry."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfoNotFoundError

import msgspec

from jobs.job import Job
from jobs.newer import NEWER_SCHEMA
from jobs.requests import JobRequest
from jobs.schedules.cron import cron_problem, next_ticks
from jobs.schedules.record import (
    STORED_SCHEDULE_NAME,
    CatchUp,
    Overlap,
    Schedule,
    ScheduleChange,
    Skip,
    run_job_id,
    starts_anew,
)
from jobs.tenants import app_job_id, tenant_of
from jobs.why import Blocker
from jobs.workflows import EnqueueWarning
from worker.app.action_table import ScheduleAction
from worker.app.actions import Actor
from worker.app.checks import require_name, require_time_zone
from worker.app.enqueue import Enqueuer, EnqueueResult, InvalidRequest, RunPreviews, lane_of
from worker.app.queries import Queries
from worker.app.schedule_jobs import ScheduleJobs
from worker.app.shown_ids import shown_job_id
from worker.clock import Clock
from worker.store import Store
from worker.store.events import ScheduleNotice
from worker.store.schedules import MAX_SCHEDULES, TooManySchedules
from worker.store.schema import NewerRecordError
from worker.store.side_writes import NewAuditEntry

TICKS_SHOWN: Final = 5
RUNS_SHOWN: Final = 10


class NoSuchSchedule(LookupError):
    """There is no schedule of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {shown_job_id(name)!r}")


class ScheduleRequest(NamedTuple):
    """A schedule as a person asks for it."""

    cron: str
    job: dict[str, Any]
    """A job request, as of `POST /v1/jobs`."""
    time_zone: str = "UTC"
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    enabled: bool = True
    counted_for: str = ""


class ShownSchedule(NamedTuple):
    """A schedule with what it did and will do."""

    schedule: Schedule
    next_ticks: Sequence[int]
    """Unix seconds; empty where it makes no jobs."""
    last_run: Job | None
    skip: Skip | None
    """The last ticks that made no job."""


class ScheduleDetails(NamedTuple):
    """All that is known of a schedule."""

    shown: ShownSchedule
    inputs: bytes | None
    """A JSON object; None where they are lost, or no key reads them."""
    runs: Sequence[Job]
    """Its newest jobs that are on record, newest first."""
    blockers: Sequence[Blocker]
    """What keeps its next job from being enqueued or from running."""
    warnings: Sequence[EnqueueWarning] = ()
    """Of a set: what is not as the provider lists it."""


class Schedules:
    """The schedules of one namespace. Names are those that are stored."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        queries: Queries,
        enqueuer: Enqueuer,
        *,
        jobs: ScheduleJobs,
        previews: RunPreviews,
    ) -> None:
        self._store = store
        self._clock = clock
        self._queries = queries
        self._enqueuer = enqueuer
        self._jobs = jobs
        self._previews = previews

    async def list_all(self, tenant: str = "") -> list[ShownSchedule]:
        """Every schedule, by name; of one tenant, or of all and none."""
        found = (await self._store.schedules.read()).schedules
        return await self._shown([one for one in found if tenant in ("", tenant_of(one.name))], 1)

    async def details(self, name: str) -> ScheduleDetails:
        """One schedule; raises `NoSuchSchedule`."""
        return await self._details(await self._required(name))

    async def set(self, name: str, wanted: ScheduleRequest, actor: Actor) -> ScheduleDetails:
        """Set a schedule; with another cron line or zone it begins anew, from now.

        Raises `InvalidRequest` with the field that is wrong, and `NewerRecordError`.
        """
        new, request = self._checked(name, wanted, actor)
        try:
            preview = await self._previews.preview(lane_of(request), request.inputs)
        except InvalidRequest as error:
            raise InvalidRequest(f"job.{error.field}", str(error)) from None

        def replaced(current: Schedule | None) -> Schedule:
            _refuse_newer(current)
            is_new = starts_anew(current, new)
            since = new.since if is_new or current is None else current.since
            return msgspec.structs.replace(new, since=since)

        try:
            await self._store.schedules.change(name, replaced, request.inputs)
        except TooManySchedules:
            message = f"there are {MAX_SCHEDULES} schedules: remove one first"
            raise InvalidRequest("name", message) from None
        what = f"{new.cron} ({new.time_zone}) for {lane_of(request)}"
        await self._audit(ScheduleAction.SET_SCHEDULE, name, what, actor)
        await self._announce(ScheduleChange.SET, new)
        return (await self.details(name))._replace(warnings=preview.warnings)

    async def remove(self, name: str, actor: Actor) -> ShownSchedule:
        """Remove a schedule; its jobs go on. Returns it as it was. Raises `NoSuchSchedule`."""
        schedule = await self._required(name)
        (shown,) = await self._shown([schedule], 1)
        _refuse_newer(schedule)

        def removed(current: Schedule | None) -> None:
            _refuse_newer(current)

        await self._store.schedules.change(name, removed)
        what = schedule.cron or "it could not be read"
        await self._audit(ScheduleAction.REMOVE_SCHEDULE, name, what, actor)
        await self._announce(ScheduleChange.REMOVED, schedule)
        return shown

    async def enable(self, name: str, actor: Actor, *, enabled: bool) -> ScheduleDetails:
        """Let a schedule make jobs from now on, or none any more; raises `NoSuchSchedule`."""
        now = self._clock.now()

        def switched(current: Schedule | None) -> Schedule:
            if current is None:
                raise NoSuchSchedule(name)
            _refuse_newer(current)
            if current.error:
                raise InvalidRequest("name", f"{current.error}: set the schedule anew")
            since = current.since if current.enabled == enabled else now
            return msgspec.structs.replace(current, enabled=enabled, since=since)

        after = await self._store.schedules.change(name, switched)
        if after is None:
            raise NoSuchSchedule(name)
        action = ScheduleAction.ENABLE_SCHEDULE if enabled else ScheduleAction.DISABLE_SCHEDULE
        await self._audit(action, name, after.cron, actor)
        change = ScheduleChange.ENABLED if enabled else ScheduleChange.DISABLED
        await self._announce(change, after)
        return await self.details(name)

    async def request_of(self, name: str) -> JobRequest:
        """The request of the jobs of a schedule; raises `NoSuchSchedule` and `InvalidRequest`."""
        return (await self._read_request(name))[1]

    async def run(self, name: str, actor: Actor, key: str = "") -> EnqueueResult:
        """Enqueue the job of a schedule now, once per `key`; the actor is who enqueues it.

        It runs also where the schedule is disabled, or an earlier run is not finished.
        Raises as `request_of`, and what an enqueue raises.
        """
        schedule, request = await self._read_request(name)
        key = hashlib.blake2s(key.encode(), digest_size=8).hexdigest() if key else ""
        enqueued = await self._enqueuer.enqueue(
            request,
            job_id=run_job_id(name, key or self._clock.new_id()),
            tenant=tenant_of(name),
            by=actor.name,
            counted_for=schedule.counted_for,
            schedule=name,
        )
        if enqueued.created:
            note = f"job {enqueued.job.id}"
            await self._audit(ScheduleAction.RUN_SCHEDULE, name, note, actor, jobs=1)
        return enqueued

    # What is shown.

    async def _details(self, schedule: Schedule) -> ScheduleDetails:
        (shown,) = await self._shown([schedule], TICKS_SHOWN)
        runs = await self._runs(schedule.name)
        inputs = await self._store.schedules.inputs(schedule.name)
        blockers = await self._blockers(schedule, inputs)
        return ScheduleDetails(shown, inputs, runs, blockers)

    async def _shown(self, found: Sequence[Schedule], ticks: int) -> list[ShownSchedule]:
        names, now = [one.name for one in found], self._clock.now()
        skips = await self._store.schedules.skips(names)
        newest = await self._store.schedules.newest_of(names)
        runs = await self._queries.shown_jobs([one for one in newest if one is not None])
        by_id = {job.id: job for job in runs if job is not None}
        return [
            ShownSchedule(one, upcoming(one, now, ticks), by_id.get(last) if last else None, skip)
            for one, last, skip in zip(found, newest, skips, strict=True)
        ]

    async def _runs(self, name: str) -> list[Job]:
        ids = await self._store.schedules.newest_jobs(name, RUNS_SHOWN)
        return [job for job in await self._queries.shown_jobs(ids) if job is not None]

    async def _blockers(self, schedule: Schedule, inputs: bytes | None) -> list[Blocker]:
        """What keeps the next job from being enqueued, then what would keep it from running."""
        name = app_job_id(schedule.name)
        if schedule.error:
            return [Blocker("unreadable", schedule.error, "Set it anew")]
        found: list[Blocker] = []
        if not schedule.enabled:
            action = f"Enable it: knouds-worker schedules enable {name}"
            found.append(Blocker("disabled", "it is disabled", action))
        try:
            job = self._job_of_next(schedule, inputs or b"{}")
        except InvalidRequest as error:
            text = f"its job would be refused: {error.field} {error}"
            return [*found, Blocker("refused", text, "Set it with another job")]
        if inputs is None:
            text = "its inputs are lost, or no key of KNOUDS_PAYLOAD_KEYS reads them"
            found.append(Blocker("refused", text, "Set it anew"))
        if schedule.overlap is Overlap.SKIP:
            found += await self._overlaps(schedule)
        return [*found, *(one for one in await self._queries.why(job) if one.kind != "line")]

    async def _overlaps(self, schedule: Schedule) -> list[Blocker]:
        ids = await self._store.schedules.open_jobs(schedule.name, 1)
        return [
            Blocker(
                "overlap", f"job {shown_job_id(one)} is not finished: ticks until then are skipped"
            )
            for one in ids
        ]

    def _job_of_next(self, schedule: Schedule, inputs: bytes) -> Job:
        """A job as the next tick makes one."""
        now = self._clock.now()
        return self._jobs.job_of_tick(schedule, inputs, int(now), now)

    # What is read and written.

    async def _required(self, name: str) -> Schedule:
        found = await self._store.schedules.find(name)
        if found is None:
            raise NoSuchSchedule(name)
        return found

    async def _read_request(self, name: str) -> tuple[Schedule, JobRequest]:
        schedule = await self._required(name)
        inputs = await self._store.schedules.inputs(name)
        if schedule.error or inputs is None:
            why = schedule.error or "no key of KNOUDS_PAYLOAD_KEYS reads its inputs"
            raise InvalidRequest("name", f"cannot be run: {why}; set the schedule anew")
        return schedule, self._jobs.request_of(schedule, inputs)

    def _checked(
        self, name: str, wanted: ScheduleRequest, actor: Actor
    ) -> tuple[Schedule, JobRequest]:
        require_name(name, STORED_SCHEDULE_NAME)
        if problem := cron_problem(wanted.cron):
            raise InvalidRequest("cron", problem)
        require_time_zone(wanted.time_zone)
        request = self._jobs.parse(wanted.job)
        now = self._clock.now()
        schedule = Schedule(
            name=name,
            cron=" ".join(wanted.cron.split()),
            time_zone=wanted.time_zone,
            job={key: value for key, value in wanted.job.items() if key != "inputs"},
            overlap=wanted.overlap,
            catch_up=wanted.catch_up,
            enabled=wanted.enabled,
            since=now,
            set_at=now,
            set_by=actor.name,
            note=actor.note,
            counted_for=wanted.counted_for,
        )
        return schedule, request

    async def _announce(self, change: ScheduleChange, schedule: Schedule) -> None:
        lane = "" if schedule.error else str(schedule.lane)
        notice = ScheduleNotice(schedule.name, lane, change, self._clock.now())
        await self._store.schedules.announce(notice)

    async def _audit(
        self, action: ScheduleAction, name: str, what: str, actor: Actor, jobs: int = 0
    ) -> None:
        note = what + (f": {actor.note}" if actor.note else "")
        entry = NewAuditEntry(self._clock.now(), actor.name, action, f"schedule {name}", note, jobs)
        await self._store.audit.record(entry)


def upcoming(schedule: Schedule, now: float, count: int) -> list[int]:
    """The next ticks of a schedule, Unix seconds; none where it makes no jobs."""
    if not schedule.enabled or schedule.error:
        return []
    try:
        return next_ticks(schedule.cron, schedule.time_zone, now, count)
    except (ZoneInfoNotFoundError, ValueError):
        return []  # the machine does not know the zone any more


def _refuse_newer(current: Schedule | None) -> None:
    """Raise `NewerRecordError` for a schedule that this version must not change."""
    if current is not None and current.is_newer:
        why = current.error.removeprefix(f"{NEWER_SCHEMA}: ")
        raise NewerRecordError("the schedule", current.name, why)
