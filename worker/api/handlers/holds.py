"""What stands in the way, over HTTP: groups of the parked and the dead, holds, and the numbers."""

from aiohttp import web

from jobs.lanes import parse_scope
from worker.api.context import context_of, current_actor
from worker.api.models.requests import ActionBody, GroupsQuery, HoldBody
from worker.api.models.views import group_view, hold_view, json_response, page_view, stats_view
from worker.api.parsing import read_body, read_query
from worker.api.problems import bad_field


async def groups(request: web.Request) -> web.Response:
    """Parked jobs or dead letters by code and lane."""
    query = read_query(request, GroupsQuery)
    found = await context_of(request).queries.groups(query.state)
    return json_response(page_view([group_view(seen) for seen in found]))


async def holds(request: web.Request) -> web.Response:
    """Every hold."""
    found = await context_of(request).queries.holds()
    return json_response(page_view([hold_view(hold, jobs) for hold, jobs in found]))


async def set_hold(request: web.Request) -> web.Response:
    """Pause a scope. 201 for a new hold, 200 for the one that stands already."""
    office = context_of(request)
    body = await read_body(request, HoldBody)
    try:
        scope = parse_scope(body.scope)
    except ValueError:
        wanted = HoldBody.model_fields["scope"].description
        raise bad_field("scope", f"must be {wanted}") from None
    before = office.clock.now()
    hold = await office.actions.place_hold(scope, current_actor(body.note))
    (jobs,) = await office.store.queries.held_counts([hold.id])
    return json_response(hold_view(hold, jobs), 201 if hold.created_at >= before else 200)


async def release_hold(request: web.Request) -> web.Response:
    """Open a gate, and put the jobs it parked back in line."""
    office = context_of(request)
    body = await read_body(request, ActionBody)
    person = current_actor(body.note)
    hold, count = await office.actions.release_hold(request.match_info["id"], person)
    (jobs,) = await office.store.queries.held_counts([hold.id])
    return json_response({"hold": hold_view(hold, jobs), "released": count})


async def stats(request: web.Request) -> web.Response:
    """How everything stands."""
    office = context_of(request)
    return json_response(stats_view(await office.queries.stats(), office.caps))
