"""Enqueues jobs, for the API and for apps that use plain arq."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs.batches import BatchSealed
from jobs.dependencies.references import references_in
from jobs.job import Job
from jobs.lanes import JobId, Lane
from jobs.payloads import MissingPayload
from jobs.requests import JobRequest, new_job
from jobs.states import OnUncertain, State
from jobs.tenants import app_job_id, tenant_job_id
from jobs.workflows import EnqueueWarning
from worker.app.parents import NO_PARENTS, BadParent, CallOrder, Parents, load_parents
from worker.clock import Clock
from worker.engine.unreadable_records import load_job
from worker.store import Store
from worker.store.client import Durability
from worker.store.commit import VersionedJob
from worker.store.jobs import CommitRefused
from worker.store.schema import NewerRecordError
from worker.store.side_writes import ANY_EPOCH, SideWrites

log: Final = structlog.get_logger(__name__)

MAX_PAST_S: Final = 300.0
"""A `run_at` further in the past is refused as a mistake."""

MAX_DELAY_S: Final = 10 * 365.25 * 86_400
"""Ten years: what is due later is a mistake in the unit or the year."""

MAX_SHOWN: Final = 20
"""Accounts or targets that an error names."""

ENDED: Final = frozenset({State.SUCCEEDED, State.CANCELLED})
"""States that a job never leaves: it needs its inputs no more."""

SPACING_S: Final = 2.5e-4
"""Jobs of one call are created this far apart, the last one now: this keeps their order."""


STARTS_PER_TURN: Final = 16
"""Jobs of all calls that are begun before everything else has its turn: about 5 ms of CPU."""


class InvalidRequest(ValueError):
    """A request that is refused: names the field and the fix."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def is_granted(value: str, allowed: Sequence[str] | None) -> bool:
    """Whether one of the patterns of a token matches; None: it has none, and may use all."""
    return allowed is None or any(fnmatchcase(value, one) for one in allowed)


class NotGranted(InvalidRequest):
    """A request for an account, kind or target that the caller's token may not use."""

    def __init__(self, field: str, token: str, allowed: Sequence[str]) -> None:
        shown = ", ".join(allowed[:MAX_SHOWN])
        more = f" and {len(allowed) - MAX_SHOWN} more" if len(allowed) > MAX_SHOWN else ""
        super().__init__(field, f"is not granted to token {token!r}, which may use {shown}{more}")


class JobIdConflict(Exception):
    """The id, as the app of the tenant knows it, is taken by a job with another payload."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"job {job_id!r} exists with another payload: use another id for another job"
        )


@dataclass(frozen=True, slots=True)
class RunPreview:
    """What is known of a run before it is enqueued."""

    est_cost: float | None
    """Credits, see `jobs.credits.estimates`; None where that is unknown."""
    warnings: tuple[EnqueueWarning, ...] = ()


class RunPreviews(Protocol):
    """Compares requests with what is known, see `worker.app.enqueue_checks`."""

    async def preview(self, lane: Lane, inputs: bytes) -> RunPreview:
        """What is known of a run of a lane; raises `InvalidRequest` where that refuses it."""
        ...

    async def load(self, lanes: Collection[Lane]) -> None:
        """Prepare the previews of several lanes in one round trip."""
        ...


@dataclass(frozen=True, slots=True)
class EnqueueResult:
    """A job whose record and index entries are written."""

    job: Job
    created: bool
    """False: the same request came before, and this is its job."""
    durability: Durability | None = None
    """Whether replicas have it; None if it did not wait for them."""
    preview: RunPreview | None = None
    """What is known of its run; None if nothing was asked, or it would be refused today."""


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What a job gets whose request does not say."""

    max_attempts: int = 5
    deadline_s: float = 3_600.0
    on_uncertain: OnUncertain = OnUncertain.PARK


class CallbackRules(Protocol):
    """Where callbacks of jobs go, see `worker.app.callback_policy`."""

    def check(self, request: JobRequest) -> None:
        """Raise `InvalidRequest` for a URL that they may not go to."""
        ...

    def default_url(self, account: str) -> str | None:
        """Where they go for a job that names no URL; None: it has none."""
        ...


class Enqueuer:
    """Makes jobs of requests. A job is acknowledged when it is written with its index entries."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        defaults: JobDefaults,
        previews: RunPreviews | None = None,
        callbacks: CallbackRules | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._defaults = defaults
        self._previews = previews
        self._callbacks = callbacks
        self._turn = asyncio.Lock()

    async def enqueue(
        self,
        request: JobRequest,
        *,
        job_id: str | None = None,
        tenant: str = "",
        by: str = "",
        counted_for: str = "",
        schedule: str = "",
        offset_s: float = 0.0,
        sees_results: bool = True,
    ) -> EnqueueResult:
        """Make a job of a request, once per id.

        Raises `JobIdConflict`, `BatchSealed` or `InvalidRequest`.

        `job_id`: as the app of the tenant knows it. `counted_for`: the token whose limit of open
        jobs counts it. `schedule`: what it is a run of, as its name is stored. `sees_results`:
        whether its inputs may take from results of jobs that others enqueued.
        """
        now = self._clock.now() + offset_s
        stored_id = tenant_job_id(tenant, job_id or self._clock.new_id())
        load = partial(self._load_parents, request, tenant=tenant, by=by, sees_results=sees_results)
        try:
            preview = await self._checked(request, now)
            parents = await load() if request.after else NO_PARENTS
        except InvalidRequest:
            if job_id is not None and (known := await self._find_existing(stored_id, request)):
                return known
            raise
        make_job = partial(
            new_job,
            request,
            stored_id,
            now,
            max_attempts=self._defaults.max_attempts,
            deadline_s=self._defaults.deadline_s,
            on_uncertain=self._defaults.on_uncertain,
            callback_url=self._default_callback_url(request.account),
            by=by,
            counted_for=counted_for,
            schedule=schedule,
        )
        job = make_job(parents_check_at=parents.check_at(now))
        writes = parents.side_writes(request)
        while isinstance(stored := await self._store.jobs.create_if(job, writes), CommitRefused):
            if (known := await self._find_existing(job.id, request)) is not None:
                return replace(known, preview=preview)
            if request.after:  # one of them changed meanwhile
                parents = await load()
                job = make_job(parents_check_at=parents.check_at(now))
                writes = parents.side_writes(request)
        return EnqueueResult(job, created=True, durability=stored.durability, preview=preview)

    async def _load_parents(
        self, request: JobRequest, *, tenant: str, by: str, sees_results: bool
    ) -> Parents:
        try:
            return await load_parents(
                self._store.jobs, request, tenant=tenant, by=by, sees_results=sees_results
            )
        except BadParent as error:
            raise InvalidRequest(error.field, str(error)) from None

    async def _checked(self, request: JobRequest, now: float) -> RunPreview | None:
        """What is known of the run of a request; raises `InvalidRequest` for one to refuse."""
        if request.run_at is not None and request.run_at > now + MAX_DELAY_S:
            raise InvalidRequest("run_at", "must be within ten years from now")
        if request.run_at is not None and request.run_at < now - MAX_PAST_S:
            raise InvalidRequest("run_at", "is in the past: give a time in the future, or omit it")
        _check_start_by(request, now)
        self.check_callback(request)
        if self._previews is None:
            return None
        return await self._previews.preview(lane_of(request), request.inputs)

    def check_callback(self, request: JobRequest) -> None:
        """Raise `InvalidRequest` for a URL that callbacks may not go to."""
        if self._callbacks is not None:
            self._callbacks.check(request)

    def _default_callback_url(self, account: str) -> str | None:
        return None if self._callbacks is None else self._callbacks.default_url(account)

    async def enqueue_many(
        self,
        requests: Sequence[tuple[str | None, JobRequest]],
        *,
        tenant: str = "",
        by: str = "",
        counted_for: str = "",
        sees_results: bool = True,
    ) -> list[EnqueueResult | Exception]:
        """Make jobs of many requests; returns a result for each: a bad one harms no other.

        An error is a `JobIdConflict`, a `BatchSealed`, an `InvalidRequest`, or that of Redis.
        Requests with the same id are like calls one after the other, and one that waits for
        another of them comes after it.
        """
        last, order = len(requests) - 1, CallOrder(requests)
        enqueue = partial(
            self.enqueue,
            tenant=tenant,
            by=by,
            counted_for=counted_for,
            sees_results=sees_results,
        )
        latest: dict[str, asyncio.Task[EnqueueResult | Exception]] = {}
        if self._previews is not None:
            await self._previews.load({lane_of(request) for _, request in requests})

        async def one(
            number: int, job_id: str | None, request: JobRequest
        ) -> EnqueueResult | Exception:
            if job_id is not None:
                before = latest.get(job_id)
                latest[job_id] = tasks[number]
                if before is not None:
                    await asyncio.wait([before])
            try:
                await order.wait_for_parents(job_id, request)
                offset_s = (number - last) * SPACING_S
                return await enqueue(request, job_id=job_id, offset_s=offset_s)
            except BadParent as error:
                return InvalidRequest(error.field, str(error))
            except _REFUSALS as error:
                return error
            finally:
                order.mark_ended(job_id)

        tasks: list[asyncio.Task[EnqueueResult | Exception]] = []
        async with asyncio.TaskGroup() as group:
            for begin in range(0, len(requests), STARTS_PER_TURN):
                some = enumerate(requests[begin : begin + STARTS_PER_TURN], begin)
                async with self._turn:
                    tasks += [group.create_task(one(number, *entry)) for number, entry in some]
                    await asyncio.sleep(0)
        return [task.result() for task in tasks]

    async def _find_existing(self, job_id: JobId, request: JobRequest) -> EnqueueResult | None:
        stored = await load_job(self._store.jobs, job_id, self._clock.now())
        if stored is None:
            return None
        if stored.job.fingerprint != request.fingerprint:
            raise JobIdConflict(app_job_id(job_id))
        if stored.job.state not in ENDED:
            missing = (await self._store.payloads.missing_inputs([job_id])).get(job_id)
            is_resolved = bool(request.after) and not stored.job.takes_results
            if is_resolved and references_in(request.inputs):
                missing = None  # what it took from results is lost: an operator gives new inputs
            if missing is not None and missing is not MissingPayload.ERASED:
                return await self._restore_inputs(stored, request)
        durability = await self._store.jobs.durability()
        return EnqueueResult(stored.job, created=False, durability=durability)

    async def _restore_inputs(
        self, stored: VersionedJob, request: JobRequest
    ) -> EnqueueResult | None:
        """Write the inputs of a job that are lost, which the same request has; None: try again.

        The job stays in its state: only an operator releases one that was parked for it.
        """
        written = await self._store.jobs.commit(
            stored,
            stored.job,
            SideWrites(
                inputs=request.inputs,
                metadata=request.metadata,
                data_epoch=ANY_EPOCH,
                awaits_replicas=True,
            ),
        )
        if not isinstance(written, VersionedJob):
            return None
        log.warning("job.inputs_restored", job_id=stored.job.id, state=stored.job.state.value)
        return EnqueueResult(stored.job, created=False, durability=written.durability)


def _check_start_by(request: JobRequest, now: float) -> None:
    """Raise `InvalidRequest` for a `start_by` at which nothing could be sent."""
    if request.start_by is None:
        return
    if request.start_by <= now:
        raise InvalidRequest("start_by", "is in the past: give a time in the future, or omit it")
    if request.start_by > now + MAX_DELAY_S:
        raise InvalidRequest("start_by", "must be within ten years from now")
    due_at = request.run_at if request.delay_s is None else now + request.delay_s
    if due_at is not None and request.start_by <= due_at:
        name = "run_at" if request.delay_s is None else "delay_s"
        raise InvalidRequest("start_by", f"is not after {name}: it could never be sent")


_REFUSALS: Final = (
    JobIdConflict,
    BatchSealed,
    InvalidRequest,
    NewerRecordError,
    RedisError,
    OSError,
)
"""What refuses one job of many."""


def lane_of(request: JobRequest) -> Lane:
    """Where the job of a request queues."""
    return Lane(request.account, request.kind, request.target)
