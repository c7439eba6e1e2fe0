"""The provider's deliveries over HTTP."""

from aiohttp import web

from worker.api.context import office_of
from worker.api.models.views import json_response


async def receive(request: web.Request) -> web.Response:
    """Take what the provider delivers: signed, stored, worked on afterwards."""
    outcome = await office_of(request).reception.take(request)
    return json_response({"outcome": outcome})
