"""What stands in the way, over HTTP: groups of the parked and the dead, holds, and the numbers."""

from aiohttp import web

from jobs.lanes import parse_scope
from worker.api.context import acting, office_of
from worker.api.models.requests import ActRequest, GroupsQuery, HoldRequest
from worker.api.models.views import group_view, hold_view, json_response, page_view, stats_view
from worker.api.parsing import read_body, read_query
from worker.api.problems import bad_field


async def groups(request: web.Request) -> web.Response:
    """Parked jobs or dead letters by code and lane."""
    query = read_query(request, GroupsQuery)
    found = await office_of(request).review.groups(query.state)
    return json_response(page_view([group_view(seen) for seen in found]))


async def holds(request: web.Request) -> web.Response:
    """Every hold."""
    found = await office_of(request).review.holds()
    return json_response(page_view([hold_view(hold, jobs) for hold, jobs in found]))


async def set_hold(request: web.Request) -> web.Response:
    """Pause a scope. 201 for a new hold, 200 for the one that stands already."""
    office = office_of(request)
    body = await read_body(request, HoldRequest)
    try:
        scope = parse_scope(body.scope)
    except ValueError:
        wanted = HoldRequest.model_fields["scope"].description
        raise bad_field("scope", f"must be {wanted}") from None
    before = office.clock.now()
    hold = await office.desk.set_hold(scope, acting(body.note))
    (jobs,) = await office.store.queries.held([hold.id])
    return json_response(hold_view(hold, jobs), 201 if hold.created_at >= before else 200)


async def release_hold(request: web.Request) -> web.Response:
    """Open a gate, and put the jobs it parked back in line."""
    office = office_of(request)
    body = await read_body(request, ActRequest)
    person = acting(body.note)
    hold, count = await office.desk.release_hold(request.match_info["id"], person)
    (jobs,) = await office.store.queries.held([hold.id])
    return json_response({"hold": hold_view(hold, jobs), "released": count})


async def stats(request: web.Request) -> web.Response:
    """How everything stands."""
    office = office_of(request)
    return json_response(stats_view(await office.review.stats(), office.caps))
