"""Everything the handlers work with, built once for an application."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from config.settings import Settings
from jobs.concurrency import LaneCaps
from worker.api.auth.access import Access, person
from worker.api.auth.login import Logins
from worker.api.auth.sessions import Sessions
from worker.api.gate_cache import Standing
from worker.api.streams.broadcaster import Feed
from worker.api.streams.long_poll import Waiters
from worker.api.webhook_receiver import Reception
from worker.app.actions import Desk, Person
from worker.app.bulk import Bulk
from worker.app.enqueue import Defaults, Intake
from worker.app.queries import Review
from worker.clock import Clock
from worker.store import Store


@dataclass(frozen=True, slots=True)
class Office:
    """What a handler may ask."""

    settings: Settings
    store: Store
    clock: Clock
    access: Access
    logins: Logins
    intake: Intake
    desk: Desk
    bulk: Bulk
    review: Review
    waiters: Waiters
    feed: Feed
    caps: LaneCaps
    standing: Standing
    reception: Reception


OFFICE: Final = web.AppKey("office", Office)


def open_office(settings: Settings, store: Store, clock: Clock) -> Office:
    """Put the parts together."""
    caps = LaneCaps(settings.lane_caps)
    defaults = Defaults(settings.max_attempts, settings.run_deadline_s)
    desk = Desk(store, clock)
    tokens = settings.api_tokens
    sessions = Sessions(store.sessions, tokens)
    access = Access(tokens, sessions, proxied=settings.http_proxied)
    return Office(
        settings=settings,
        store=store,
        clock=clock,
        access=access,
        logins=Logins(access, store.audit, clock),
        intake=Intake(store, clock, defaults),
        desk=desk,
        bulk=Bulk(store, clock, desk, settings.max_inputs_bytes),
        review=Review(store, clock, caps, settings.lease_s, settings.rate_window_s),
        waiters=Waiters(store),
        feed=Feed(store.events),
        caps=caps,
        standing=Standing(store.gates, clock),
        reception=Reception(store, clock, settings.webhook_secrets, settings.max_result_bytes),
    )


def office_of(request: web.Request) -> Office:
    """The office of the application that serves a request."""
    return request.app[OFFICE]


def acting(note: str) -> Person:
    """Who acts, and what they say to it."""
    return Person(person(), note)
