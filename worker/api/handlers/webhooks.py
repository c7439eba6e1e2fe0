"""The provider's deliveries over HTTP."""

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.views import json_response


async def receive(request: web.Request) -> web.Response:
    """Take what the provider delivers: signed, stored, worked on afterwards."""
    outcome = await context_of(request).webhook_receiver.receive(request)
    return json_response({"outcome": outcome})
