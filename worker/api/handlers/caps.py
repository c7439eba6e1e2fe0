"""Concurrency caps over HTTP: list, set and remove them."""

from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.caps import (
    CapBody,
    CapPageResponse,
    CapResponse,
    RemovedCapResponse,
    cap_response,
)
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.parsing import read_body
from worker.app.lane_caps import ShownCap
from worker.app.visible_texts import visible


async def list_caps(request: web.Request) -> web.Response:
    """Every concurrency cap, by scope: of the settings, and those that operators set."""
    found = await context_of(request).use_cases.caps.list_all()
    return json_response(CapPageResponse(items=[_shown(one) for one in found], next_cursor=None))


async def get_cap(request: web.Request) -> web.Response:
    """The concurrency cap of a scope."""
    return json_response(_shown(await context_of(request).use_cases.caps.find(_scope(request))))


async def set_cap(request: web.Request) -> web.Response:
    """Set how many jobs each lane of a scope may have submitted or running at once.

    Every worker has it with its next admission. Lowered below what is in flight, it admits nothing
    until that falls.
    """
    body = await read_body(request, CapBody)
    actor = current_actor(body.note)
    found = await context_of(request).use_cases.caps.set(_scope(request), body.cap, actor)
    return json_response(_shown(found))


async def remove_cap(request: web.Request) -> web.Response:
    """Remove the cap that was set for a scope; what the settings say counts again."""
    body = await read_body(request, ActionBody)
    scope = _scope(request)
    left = await context_of(request).use_cases.caps.remove(scope, current_actor(body.note))
    return json_response(RemovedCapResponse(scope=scope, cap=None if left is None else left.cap))


def _scope(request: web.Request) -> str:
    return request.match_info["scope"]


def _shown(found: ShownCap) -> CapResponse:
    return cap_response(found._replace(record=visible(found.record)))
