"""Everything the handlers work with, built once for an application."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from config.settings import Settings
from jobs.concurrency import LaneCaps
from worker.api.auth.access import Access
from worker.api.auth.login import Logins
from worker.api.auth.principal import principal_name
from worker.api.auth.sessions import Sessions
from worker.api.gate_cache import GateCache
from worker.api.streams.broadcaster import EventBroadcaster
from worker.api.streams.long_poll import LongPolls
from worker.api.webhook_receiver import WebhookReceiver
from worker.app.actions import Actions, Actor
from worker.app.bulk import BulkActions
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.app.queries import Queries
from worker.clock import Clock
from worker.provider.knouds.webhooks import KnoudsWebhooks
from worker.store import Store


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What a handler may ask."""

    settings: Settings
    store: Store
    clock: Clock
    access: Access
    logins: Logins
    enqueuer: Enqueuer
    actions: Actions
    bulk: BulkActions
    queries: Queries
    long_polls: LongPolls
    broadcaster: EventBroadcaster
    caps: LaneCaps
    gate_cache: GateCache
    webhook_receiver: WebhookReceiver


API_CONTEXT: Final = web.AppKey("office", ApiContext)


def build_context(settings: Settings, store: Store, clock: Clock) -> ApiContext:
    """Put the parts together."""
    caps = LaneCaps(settings.lane_caps)
    defaults = JobDefaults(settings.max_attempts, settings.run_deadline_s)
    desk = Actions(store, clock, receives_webhooks=bool(settings.webhook_secrets))
    tokens = settings.api_tokens
    sessions = Sessions(store.sessions, tokens)
    access = Access(tokens, sessions, proxied=settings.http_proxied)
    return ApiContext(
        settings=settings,
        store=store,
        clock=clock,
        access=access,
        logins=Logins(access, store.audit, clock),
        enqueuer=Enqueuer(store, clock, defaults),
        actions=desk,
        bulk=BulkActions(store, clock, desk, settings.max_inputs_bytes),
        queries=Queries(store, clock, caps, settings.lease_s, settings.rate_window_s),
        long_polls=LongPolls(store),
        broadcaster=EventBroadcaster(store.events),
        caps=caps,
        gate_cache=GateCache(store.holds, clock),
        webhook_receiver=WebhookReceiver(
            store, clock, KnoudsWebhooks(settings.webhook_secrets), settings.max_result_bytes
        ),
    )


def context_of(request: web.Request) -> ApiContext:
    """The office of the application that serves a request."""
    return request.app[API_CONTEXT]


def current_actor(note: str) -> Actor:
    """Who acts, and what they say to it."""
    return Actor(principal_name(), note)
