"""Everything the handlers work with, built once for an application."""

from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from config.settings import Settings
from jobs.batches import batch_address
from jobs.holds import Gates
from jobs.tenants import tenant_job_id
from worker.api.auth.access import Access
from worker.api.auth.principal import current_principal, principal_name
from worker.api.media_policy import MediaPolicy
from worker.api.streams.broadcaster import EventBroadcaster
from worker.api.streams.long_poll import LongPolls
from worker.api.webhook_receiver import WebhookReceiver
from worker.app.actions import Actor
from worker.app.use_cases import UseCases
from worker.app.visible_texts import visible
from worker.clock import Clock
from worker.engine.gate_cache import GateCache
from worker.store import Store
from worker.store.read.filter import Filter

GATES_MAX_AGE_S: Final = 0.5
"""How old the gates of a response may be: they are shown, and decide nothing."""


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What a handler works with."""

    settings: Settings
    store: Store
    clock: Clock
    access: Access
    use_cases: UseCases
    gate_cache: GateCache
    long_polls: LongPolls
    broadcaster: EventBroadcaster
    webhook_receiver: WebhookReceiver

    @property
    def media_policy(self) -> MediaPolicy:
        """Which URLs of results a browser loads by itself."""
        return MediaPolicy(self.settings.media_hosts, self.settings.base_url)

    async def gates(self) -> Gates:
        """Holds, cool-downs and breakers to show, at most `GATES_MAX_AGE_S` old."""
        return visible(await self.gate_cache.gates())


API_CONTEXT: Final = web.AppKey("context", ApiContext)


def context_of(request: web.Request) -> ApiContext:
    """The context of the application that serves a request."""
    return request.app[API_CONTEXT]


def of_own_tenant(job_filter: Filter) -> Filter:
    """A filter for what this request may see: for a token of a tenant, jobs of that tenant.

    A batch, a fair key and a job are named as the app of the tenant knows them.
    """
    tenant = current_principal().grants.tenant
    if not tenant:
        return job_filter
    batch, key = job_filter.batch, job_filter.fair_key
    stored = None if batch is None else batch_address(tenant, batch)
    stored_key = None if key is None else tenant_job_id(tenant, key)
    after = None if job_filter.after is None else tenant_job_id(tenant, job_filter.after)
    return replace(job_filter, tenant=tenant, batch=stored, fair_key=stored_key, after=after)


def current_actor(note: str) -> Actor:
    """The principal of this request as the actor of an action, with the note for the audit."""
    return Actor(principal_name(), note)
