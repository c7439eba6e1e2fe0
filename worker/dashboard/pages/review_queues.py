"""The review queues (parked jobs, dead letters): groups by code and target, then the jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from jobs.evidence.records import EvidenceFinding
from jobs.job import UNCERTAIN, Job
from jobs.states import State
from worker.app.action_table import JobAction
from worker.app.bulk_request import BulkAction
from worker.app.queries import GroupSummary, UncertainEvidence
from worker.dashboard.filters import FilterForm
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.holds import HoldSummary, hold_summaries
from worker.dashboard.pages.job import effect_context
from worker.dashboard.pages.job_lists import filter_choices, job_list
from worker.dashboard.views.available_actions import (
    AvailableAction,
    available_actions,
    offered_actions,
)
from worker.dashboard.views.formatting import jobs_waiting_text, label_text
from worker.dashboard.views.summary import group_href, group_query

GROUPS_SHOWN: Final = 60

NARROWING_FIELDS: Final[Sequence[str]] = ("tag", "batch", "fair_key", "since", "until")
"""Filter fields that can match a part of a group."""

EVIDENCE_SHOWN: Final = 10
"""Uncertain jobs of a list that are shown with their evidence."""


@dataclass(frozen=True, slots=True)
class GroupCard:
    """A group with its hold and its actions."""

    summary: GroupSummary
    href: str
    fields: dict[str, str]
    """The filter fields that its forms send."""
    hold_summary: HoldSummary | None
    """The hold that parked the group: its release releases the group."""
    actions: tuple[BulkAction, ...]
    is_narrowed: bool
    """Whether the page's filter can exclude some of its jobs, also from its forms."""

    @property
    def not_started(self) -> int:
        """How many of its jobs did not start, by the provider's list of runs."""
        return self.summary.findings.get(EvidenceFinding.NOT_STARTED, 0)

    @property
    def findings_text(self) -> str:
        """How many of its jobs have each finding; empty for a group that is not uncertain."""
        found = self.summary.findings
        parts = [f"{found[one]} {label_text(one)}" for one in EvidenceFinding if one in found]
        return ", ".join(parts)

    @property
    def waiting_text(self) -> str:
        """How many jobs of the group wait."""
        return jobs_waiting_text(self.summary.group.count)


@dataclass(frozen=True, slots=True)
class UncertainCard:
    """An uncertain job with the evidence of its submit and its actions."""

    job: Job
    evidence: UncertainEvidence
    actions: tuple[AvailableAction, ...]


async def parked_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the parked jobs."""
    return await _queue_page(page_request, State.PARKED)


async def dead_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the dead letters."""
    return await _queue_page(page_request, State.DEAD)


async def _queue_page(page_request: PageRequest, state: State) -> web.StreamResponse:
    path = f"/{state}"
    groups = await page_request.context.use_cases.queries.groups(state)
    listed = await job_list(page_request, path, state)
    matching = _matching_groups(groups, listed.filter_form)
    holds = await _hold_summaries(page_request, state)
    return await page_request.render(
        "review_queue.html",
        400 if listed.error else 200,
        state=state,
        cards=[_card(one, holds, listed.filter_form) for one in matching[:GROUPS_SHOWN]],
        cards_more=max(0, len(matching) - GROUPS_SHOWN),
        groups_total=len(groups),
        list=listed,
        choices=filter_choices(),
        uncertain=await _uncertain_cards(page_request, listed.jobs)
        if state is State.PARKED
        else [],
    )


def _matching_groups(groups: Sequence[GroupSummary], filter_form: FilterForm) -> list[GroupSummary]:
    """The groups that match the filter by code and lane."""
    wanted = filter_form.filter
    return [
        summary
        for summary in groups
        for lane in [summary.group.lane]
        if wanted.code in (None, summary.group.code)
        and wanted.cause in (None, summary.group.cause)
        and wanted.account in (None, lane.account)
        and wanted.kind in (None, lane.kind)
        and wanted.target in (None, lane.target)
    ]


async def _hold_summaries(page_request: PageRequest, state: State) -> dict[str, HoldSummary]:
    if state is not State.PARKED:
        return {}
    queries = page_request.context.use_cases.queries
    summaries = hold_summaries(await queries.stats(), await queries.holds())
    return {one.hold.id: one for one in summaries}


def _card(
    summary: GroupSummary, holds: dict[str, HoldSummary], filter_form: FilterForm
) -> GroupCard:
    group = summary.group
    reason = group.sample.reason
    hold = holds.get(reason.hold_id or "") if reason is not None else None
    offered = offered_actions(group.sample)
    actions = tuple(one for one in BulkAction if JobAction(one) in offered)
    narrow: dict[str, str] = {
        n: filter_form.values[n] for n in NARROWING_FIELDS if n in filter_form.values
    }
    fields = {**group_query(summary), **narrow, "state": group.state.value}
    return GroupCard(summary, group_href(summary, narrow), fields, hold, actions, bool(narrow))


async def _uncertain_cards(page_request: PageRequest, jobs: Sequence[Job]) -> list[UncertainCard]:
    found: list[UncertainCard] = []
    context = await effect_context(page_request, jobs)
    for job in jobs:
        if len(found) < EVIDENCE_SHOWN and job.parked_as == UNCERTAIN:
            evidence = await page_request.context.use_cases.queries.evidence(job)
            if evidence is not None:
                found.append(UncertainCard(job, evidence, available_actions(job, context)))
    return found
