"""Holds, groups of parked jobs and dead letters, and the counts of the system over HTTP."""

import dataclasses

from aiohttp import web

from jobs.lanes import parse_scope
from worker.api.auth.principal import current_principal
from worker.api.context import context_of, current_actor
from worker.api.models.holds import (
    GroupPageResponse,
    HoldPageResponse,
    ReleasedHoldResponse,
    group_response,
    hold_response,
)
from worker.api.models.query_parameters import GroupsQuery
from worker.api.models.requests import ActionBody, HoldBody
from worker.api.models.response import json_response
from worker.api.models.stats import stats_response
from worker.api.parsing import read_body, read_query
from worker.api.problems import bad_field
from worker.app.extras import extra_or


async def list_groups(request: web.Request) -> web.Response:
    """Parked jobs or dead letters by code and lane."""
    query = read_query(request, GroupsQuery)
    summaries = await context_of(request).use_cases.queries.groups(query.state)
    items = [group_response(summary) for summary in summaries]
    return json_response(GroupPageResponse(items=items, next_cursor=None))


async def list_holds(request: web.Request) -> web.Response:
    """Every hold."""
    pairs = await context_of(request).use_cases.queries.holds()
    items = [hold_response(hold, jobs) for hold, jobs in pairs]
    return json_response(HoldPageResponse(items=items, next_cursor=None))


async def set_hold(request: web.Request) -> web.Response:
    """Pause a scope. 201 for a new hold, 200 where the scope is paused already."""
    context = context_of(request)
    body = await read_body(request, HoldBody)
    try:
        scope = parse_scope(body.scope)
    except ValueError:
        expected = HoldBody.model_fields["scope"].description
        raise bad_field("scope", f"must be {expected}") from None
    before = context.clock.now()
    hold = await context.use_cases.actions.place_hold(scope, current_actor(body.note))
    (jobs,) = await extra_or([None], context.store.read.queries.held_counts([hold.id]))
    return json_response(hold_response(hold, jobs), 201 if hold.created_at >= before else 200)


async def release_hold(request: web.Request) -> web.Response:
    """Release a hold, and return the jobs it parked to the queue."""
    context = context_of(request)
    body = await read_body(request, ActionBody)
    actor = current_actor(body.note)
    hold, count = await context.use_cases.actions.release_hold(request.match_info["id"], actor)
    (jobs,) = await extra_or([None], context.store.read.queries.held_counts([hold.id]))
    return json_response(ReleasedHoldResponse(hold=hold_response(hold, jobs), released=count))


async def get_stats(request: web.Request) -> web.Response:
    """Counts of jobs, lanes, rate limits, workers and holds."""
    queries = context_of(request).use_cases.queries
    found = await queries.stats()
    sees_all = current_principal().sees_credits
    if not sees_all:
        found = dataclasses.replace(found, credit_warnings=[])
    caps = (await context_of(request).gates()).caps_over(queries.caps)
    return json_response(stats_response(found, caps, queries.key_caps, shows_keys=sees_all))
