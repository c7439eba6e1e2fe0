"""Everything the handlers work with, built once for an application."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from config.settings import Settings
from worker.bulk import Bulk
from worker.caps import LaneCaps
from worker.clock import Clock
from worker.desk import Desk, Person
from worker.intake import Defaults, Intake
from worker.review import Review
from worker.store import Store
from worker.web.access import Access, person
from worker.web.reception import Reception
from worker.web.waiting import Waiters


@dataclass(frozen=True, slots=True)
class Office:
    """What a handler may ask."""

    settings: Settings
    store: Store
    clock: Clock
    access: Access
    intake: Intake
    desk: Desk
    bulk: Bulk
    review: Review
    waiters: Waiters
    caps: LaneCaps
    reception: Reception


OFFICE: Final = web.AppKey("office", Office)


def open_office(settings: Settings, store: Store, clock: Clock) -> Office:
    """Put the parts together."""
    caps = LaneCaps(settings.lane_caps)
    defaults = Defaults(settings.max_attempts, settings.run_deadline_s)
    desk = Desk(store, clock)
    return Office(
        settings=settings,
        store=store,
        clock=clock,
        access=Access(settings.api_tokens),
        intake=Intake(store, clock, defaults),
        desk=desk,
        bulk=Bulk(store, clock, desk, settings.max_inputs_bytes),
        review=Review(store, clock, caps, settings.lease_s),
        waiters=Waiters(store),
        caps=caps,
        reception=Reception(store, clock, settings.webhook_secrets, settings.max_result_bytes),
    )


def office_of(request: web.Request) -> Office:
    """The office of the application that serves a request."""
    return request.app[OFFICE]


def acting(note: str) -> Person:
    """Who acts, and what they say to it."""
    return Person(person(), note)
