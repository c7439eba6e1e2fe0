"""The provider's webhooks over HTTP."""

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.health import ReceiptResponse
from worker.api.models.response import json_response


async def receive_webhook(request: web.Request) -> web.Response:
    """Receive a webhook of the provider: it must be signed, and is processed after the response."""
    outcome = await context_of(request).webhook_receiver.receive(request)
    return json_response(ReceiptResponse(outcome=outcome))
