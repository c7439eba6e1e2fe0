"""What apps and operators see of callbacks, and sending one again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jobs.callback_breaker import CallbackBreaker
from jobs.callbacks import Callback, CallbackSubject, sent_again
from jobs.tenants import tenant_of
from worker.app.action_table import CallbackAction
from worker.app.actions import Actor
from worker.app.shown_ids import is_of_tenant
from worker.app.visible_texts import visible
from worker.clock import Clock
from worker.store import Store
from worker.store.callback_filter import CallbackFilter
from worker.store.callbacks import CallbackCounts, CallbackPage, StoredCallback
from worker.store.side_writes import NewAuditEntry

MAX_TRIES: Final = 20
"""Lost races until sending one again is given up."""

MAX_OF_JOB: Final = 20
"""Callbacks that the page of a job lists."""


class NoSuchCallback(LookupError):
    """There is no callback with this id, or not for this caller."""

    def __init__(self, callback_id: str) -> None:
        super().__init__(
            f"there is no callback {callback_id!r}: delivered ones are kept for a day, failed ones"
            " as long as jobs"
        )


@dataclass(frozen=True, slots=True)
class CallbackOverview:
    """How callbacks stand, as operators see it."""

    counts: CallbackCounts
    hosts_down: Mapping[str, CallbackBreaker]


class Callbacks:
    """The callbacks of one namespace."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store.callbacks
        self._audit = store.audit
        self._clock = clock

    async def page(
        self, wanted: CallbackFilter, limit: int, cursor: str | None = None
    ) -> CallbackPage:
        """A page of callbacks, newest first; raises `BadCursor`."""
        page = await self._store.page(wanted, limit, cursor)
        return CallbackPage(visible(page.items), page.next_cursor)

    async def of_job(self, job_id: str) -> list[Callback]:
        """The newest callbacks of a job, the latest event first."""
        return visible(await self._store.of_subject(CallbackSubject.JOB, job_id, MAX_OF_JOB))

    async def find(self, callback_id: str, tenant: str) -> Callback:
        """One callback; raises `NoSuchCallback`. `tenant`: that of the caller, or empty."""
        return visible((await self._find(callback_id, tenant)).callback)

    async def overview(self) -> CallbackOverview:
        """Counts and hosts that are down; none of these for a caller of a tenant."""
        counts = await self._store.counts()
        hosts = {} if is_of_tenant() or not counts.open_hosts else await self._store.breakers()
        return CallbackOverview(counts, hosts)

    async def resend(self, callback_id: str, actor: Actor, tenant: str = "") -> Callback:
        """Send a callback again, now, under its id; raises `NoSuchCallback`."""
        for _ in range(MAX_TRIES):
            stored, now = await self._find(callback_id, tenant), self._clock.now()
            after = sent_again(stored.callback, now)
            if await self._store.amend(stored, after):
                await self._audit.record(
                    NewAuditEntry(
                        now, actor.name, CallbackAction.RESEND, callback_id, actor.note, 1
                    )
                )
                await self._store.announce()
                return visible(after)
        raise RuntimeError(f"callback {callback_id} changed {MAX_TRIES} times meanwhile")

    async def _find(self, callback_id: str, tenant: str) -> StoredCallback:
        stored = await self._store.find(callback_id)
        if stored is None or (tenant and tenant_of(stored.callback.subject_id) != tenant):
            raise NoSuchCallback(callback_id)
        return stored
