"""Parked jobs and dead letters: groups by code and target with their actions, then the jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from jobs.transitions import STUCK, UNCERTAIN
from worker.app.bulk_request import Act
from worker.app.queries import Evidence, GroupSeen
from worker.dashboard.filters import Asked, read_filter
from worker.dashboard.page_request import Visit
from worker.dashboard.pages.holds import HoldSeen, seen_holds
from worker.dashboard.pages.job import around
from worker.dashboard.pages.job_lists import choices, job_list
from worker.dashboard.views.available_actions import Offer, offers
from worker.dashboard.views.formatting import waits
from worker.dashboard.views.summary import group_href, group_query

GROUPS_SHOWN: Final = 60

NARROW: Final[Sequence[str]] = ("tag", "batch", "since", "until")
"""Fields of a filter that part of a group may fit."""

EVIDENCE_SHOWN: Final = 10
"""Uncertain jobs of a list that are shown with their evidence."""


@dataclass(frozen=True, slots=True)
class Card:
    """A group, what its person does, and what can be done here."""

    seen: GroupSeen
    href: str
    fields: dict[str, str]
    """The filter that its forms send."""
    hold: HoldSeen | None
    """The hold that keeps it: releasing that releases the group."""
    acts: tuple[Act, ...]
    is_narrowed: bool
    """Whether the page's filter leaves out some of its jobs: its forms then do, too."""

    @property
    def waits(self) -> str:
        """How many jobs it is."""
        return waits(self.seen.group.count)


@dataclass(frozen=True, slots=True)
class Doubtful:
    """An uncertain job with all that is known of its submit, and the three ways out."""

    job: Job
    evidence: Evidence
    offers: tuple[Offer, ...]


async def parked_page(visit: Visit) -> web.StreamResponse:
    """What waits for a person before it goes on."""
    return await _room(visit, State.PARKED)


async def dead_page(visit: Visit) -> web.StreamResponse:
    """What no retry mends."""
    return await _room(visit, State.DEAD)


async def _room(visit: Visit, state: State) -> web.StreamResponse:
    path = f"/{state}"
    groups = await visit.office.review.groups(state)
    listed = await job_list(visit, path, state)
    shown = _admitted(groups, visit, state)
    holds = await _holds(visit, state)
    return await visit.answer(
        "room.html",
        400 if listed.fault else 200,
        state=state,
        cards=[_card(seen, holds, listed.asked) for seen in shown[:GROUPS_SHOWN]],
        cards_more=max(0, len(shown) - GROUPS_SHOWN),
        groups_total=len(groups),
        list=listed,
        choices=choices(),
        doubtful=await _doubtful(visit, listed.jobs) if state is State.PARKED else [],
    )


def _admitted(groups: Sequence[GroupSeen], visit: Visit, state: State) -> list[GroupSeen]:
    """The groups that the filter of the page admits, by what a group has in common."""
    asked = read_filter(visit.request.query, visit.now, state).filter
    return [
        seen
        for seen in groups
        for lane in [seen.group.lane]
        if asked.code in (None, seen.group.code)
        and asked.account in (None, lane.account)
        and asked.kind in (None, lane.kind)
        and asked.target in (None, lane.target)
    ]


async def _holds(visit: Visit, state: State) -> dict[str, HoldSeen]:
    if state is not State.PARKED:
        return {}
    review = visit.office.review
    found = seen_holds(await review.stats(), await review.holds())
    return {one.hold.id: one for one in found}


def _card(seen: GroupSeen, holds: dict[str, HoldSeen], asked: Asked) -> Card:
    group = seen.group
    reason = group.sample.reason
    hold = holds.get(reason.hold_id or "") if reason is not None else None
    if group.state is State.DEAD:
        acts: tuple[Act, ...] = (Act.REQUEUE, Act.DISCARD)
    elif group.code == UNCERTAIN:
        acts = (Act.DISCARD,)
    elif group.code == STUCK:
        acts = (Act.RELEASE, Act.CANCEL, Act.DISCARD)
    else:
        acts = (Act.RELEASE, Act.DISCARD)
    narrow: dict[str, str] = {n: asked.given[n] for n in NARROW if n in asked.given}
    fields = {**group_query(seen), **narrow, "state": group.state.value}
    return Card(seen, group_href(seen, narrow), fields, hold, acts, bool(narrow))


async def _doubtful(visit: Visit, jobs: Sequence[Job]) -> list[Doubtful]:
    found: list[Doubtful] = []
    nearby = await around(visit)
    for job in jobs:
        if len(found) < EVIDENCE_SHOWN and job.parked_as == UNCERTAIN:
            evidence = await visit.office.review.evidence(job)
            if evidence is not None:
                found.append(Doubtful(job, evidence, offers(job, nearby)))
    return found
