"""Batches for apps and people: create, seal and read them, and act on all jobs of one."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from jobs.batches import BatchEvent, BatchRecord, batch_address
from jobs.budgets.record import BATCH as BUDGET_BATCH
from jobs.budgets.record import BudgetPeriod
from jobs.job import Job
from jobs.states import SETTLED, State
from jobs.tenants import app_job_id
from worker.app.action_table import BatchAction
from worker.app.actions import Actor
from worker.app.budgets import BudgetRequest, Budgets
from worker.app.bulk import BulkActions
from worker.app.bulk_request import BulkAction, BulkCounts, BulkRequest, JobSelection
from worker.app.callback_policy import CallbackPolicy
from worker.app.enqueue import InvalidRequest
from worker.app.queries import Queries
from worker.clock import Clock
from worker.engine.services.batch_keeper import batch_notice
from worker.engine.unreadable_records import dead_letter_unreadable
from worker.store import Store
from worker.store.batch import Batch
from worker.store.batches import BatchFailures
from worker.store.client import BadCursor
from worker.store.payloads import StoredPayloads
from worker.store.read.filter import Filter
from worker.store.side_writes import NewAuditEntry

MAX_METADATA_BYTES: Final = 4_096

MAX_RESULTS_BYTES: Final = 4 << 20
"""Inputs and results of one page of results, unless a single job has more."""


class NoSuchBatch(LookupError):
    """No batch has that name: nobody created it, and no job names it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no batch {name!r}")


class BatchExists(Exception):
    """A batch of that name was created before, with other metadata or another callback URL."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"batch {name!r} exists with other metadata or another callback_url: use another name"
            " for another batch"
        )


class BatchRequest(NamedTuple):
    """A batch as an app asks for it."""

    name: str
    metadata: dict[str, object] | None = None
    budget: float | None = None
    """Credits that all its runs may cost; None: no limit of its own."""
    callback_url: str | None = None


class BatchResult(NamedTuple):
    """A settled job of a batch, and the position behind it."""

    job: Job
    payloads: StoredPayloads
    cursor: str


class BatchActionResult(NamedTuple):
    """A batch after an action on its jobs, and what became of them."""

    batch: Batch
    request: BulkRequest
    counts: BulkCounts


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of one namespace."""

    store: Store
    clock: Clock
    queries: Queries
    bulk: BulkActions
    budgets: Budgets
    callbacks: CallbackPolicy

    # Reads.

    async def find(self, address: str) -> Batch:
        """One batch; raises `NoSuchBatch`."""
        found = await self.store.batches.find(address, self.clock.now())
        if found is None:
            raise NoSuchBatch(app_job_id(address))
        return found

    async def failures(self, address: str) -> BatchFailures:
        """Why jobs of a batch are parked or dead."""
        found = await self.store.batches.failures(address)
        await dead_letter_unreadable(self.store.jobs, found.unreadable, self.clock.now())
        return found

    async def page(self, tenant: str, first: int, count: int) -> tuple[list[Batch], int | None]:
        """Batches from the `first` on, the latest first, and where the next page begins.

        With a tenant only those of it.
        """
        now = self.clock.now()
        if not tenant:
            found, total = await self.store.batches.page(first, count, now)
            return found, first + count if first + count < total else None
        return await self.store.batches.page_of_tenant(tenant, first, count, now)

    async def results(
        self,
        address: str,
        cursor: str | None,
        limit: int,
        before_payloads: Callable[[int], Awaitable[None]],
    ) -> tuple[list[BatchResult], str | None]:
        """Settled jobs behind a cursor, in the order in which they settled.

        And the cursor behind them, if more follow at once; a job may settle later at any time.
        `before_payloads` gets the bytes of their inputs and results before these are read.
        """
        after = _position(cursor)
        rows = await self.store.batches.settled(address, after, limit)
        chosen, size_bytes = 0, 0
        for size in await self.store.payloads.sizes([job_id for job_id, _ in rows]):
            if chosen and size_bytes + size > MAX_RESULTS_BYTES:
                break
            chosen, size_bytes = chosen + 1, size_bytes + size
        await before_payloads(size_bytes)
        jobs = await self.queries.shown_jobs([job_id for job_id, _ in rows[:chosen]])
        found = [
            BatchResult(job, await self.store.payloads.read(job.id), repr(at))
            for job, (_, at) in zip(jobs, rows[:chosen], strict=True)
            if job is not None and job.state in SETTLED
        ]
        has_more = len(rows) == limit or chosen < len(rows)
        return found, repr(rows[chosen - 1][1]) if has_more and chosen else None

    # Changes.

    async def create(self, tenant: str, request: BatchRequest, actor: Actor) -> tuple[Batch, bool]:
        """Create a batch, once per name; returns it, and whether it is new.

        Raises `BatchExists` for one with other metadata, and `InvalidRequest`.
        """
        now, address = self.clock.now(), batch_address(tenant, request.name)
        metadata = _encoded(request.metadata)
        self.callbacks.check_url(request.callback_url)
        record = BatchRecord(
            name=request.name,
            created_at=now,
            created_by=actor.name,
            metadata=metadata,
            note=actor.note,
            callback_url=request.callback_url or "",
        )
        is_new = await self.store.batches.create(tenant, record)
        if request.budget is not None:
            await self._set_budget(address, request.budget, actor)
        batch = await self.find(address)
        known = None if batch.record is None else (batch.record.metadata, batch.record.callback_url)
        if not is_new and known != (metadata, record.callback_url):
            raise BatchExists(request.name)
        if is_new:
            await self.store.batches.report(batch_notice(batch, BatchEvent.CREATED, now))
        return batch, is_new

    async def _set_budget(self, address: str, limit: float, actor: Actor) -> None:
        name = budget_name(address)
        known = await self.store.budgets.find(name)
        if known is not None and known.limit == limit:
            return
        scope = f"{BUDGET_BATCH}{address}"
        try:
            await self.budgets.set(name, BudgetRequest(scope, BudgetPeriod.TOTAL, limit), actor)
        except InvalidRequest as error:
            raise InvalidRequest("budget", str(error)) from None

    async def seal(self, address: str, actor: Actor, *, is_operator: bool) -> Batch:
        """Let no more jobs join; raises `NoSuchBatch`. Repeating it changes nothing.

        The audit has what operators do: apps seal one batch after the other.
        """
        batch, now = await self.find(address), self.clock.now()
        if await self.store.batches.seal(address, now):
            if is_operator:
                await self._audit(BatchAction.SEAL, batch, actor)
            batch = await self.find(address)
            await self.store.batches.report(batch_notice(batch, BatchEvent.SEALED, now))
        return await self.find(address)

    async def cancel(self, address: str, actor: Actor) -> BatchActionResult:
        """Let no more jobs join, and cancel all that have not settled and are not parked."""
        batch, now = await self.find(address), self.clock.now()
        await self.store.batches.mark_cancelled(address, now)
        found = await self._act_on_jobs(BulkAction.CANCEL, batch, None, actor)
        await self.store.batches.report(batch_notice(found.batch, BatchEvent.CANCELLED, now))
        return found

    async def requeue_failed(self, address: str, actor: Actor) -> BatchActionResult:
        """Requeue the dead letters of a batch. A complete one is open again until they settle."""
        batch = await self.find(address)
        return await self._act_on_jobs(BulkAction.REQUEUE, batch, State.DEAD, actor)

    async def _act_on_jobs(
        self, action: BulkAction, batch: Batch, state: State | None, actor: Actor
    ) -> BatchActionResult:
        """Act on the jobs of a batch; the bulk action has its audit entry."""
        filter_json = msgspec.json.encode({"batch": batch.address}).decode()
        selection = JobSelection(Filter(batch=batch.address, state=state), filter_json)
        request = BulkRequest(action, selection)
        counts = await self.bulk.run(request, actor)
        return BatchActionResult(await self.find(batch.address), request, counts)

    async def _audit(self, action: BatchAction, batch: Batch, actor: Actor) -> None:
        on = f"batch {batch.address}"
        entry = NewAuditEntry(self.clock.now(), actor.name, action, on, actor.note, 0)
        await self.store.audit.record(entry)


def budget_name(address: str) -> str:
    """The name of the budget that was set with a batch."""
    return f"batch-{hashlib.blake2s(address.encode(), digest_size=12).hexdigest()}"


def _encoded(metadata: dict[str, object] | None) -> str:
    if not metadata:
        return ""
    text = msgspec.json.encode(metadata, order="sorted")
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidRequest(
            "metadata", f"is {len(text)} bytes of JSON and may be {MAX_METADATA_BYTES}"
        )
    return text.decode()


def _position(cursor: str | None) -> float:
    """The position that a cursor names; raises `BadCursor`."""
    try:
        at = float(cursor or 0)
    except ValueError:
        raise BadCursor from None
    if not 0 <= at < float("inf"):
        raise BadCursor
    return at
