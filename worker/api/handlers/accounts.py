"""Acts on accounts over HTTP."""

from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.requests import ActionBody
from worker.api.models.response import json_response
from worker.api.models.stats import ReconcileOnResponse
from worker.api.parsing import read_body


async def turn_on_reconcile(request: web.Request) -> web.Response:
    """Trust missing rows of an account again, after a late row switched `reconcile` off."""
    body = await read_body(request, ActionBody)
    account = request.match_info["account"]
    evidence = context_of(request).use_cases.evidence
    was_off = await evidence.switch_reconcile_on(account, current_actor(body.note))
    return json_response(ReconcileOnResponse(account=account, was_off=was_off))
