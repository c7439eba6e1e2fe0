"""`GET /v1/whoami`: programs learn what their token may do, and offer no more than that."""

from collections.abc import Sequence

from aiohttp import web

from config.values import Role
from worker.api.auth.principal import Visibility, current_principal, has_access
from worker.api.endpoints import Endpoint
from worker.api.models.caller import CallerResponse, caller_response
from worker.api.models.response import json_response


def caller_endpoint(others: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that says which of the others a caller may use; every token may call it."""

    async def get_caller(request: web.Request) -> web.Response:
        """Who sends this request, and the operations that they may call."""
        del request
        principal = current_principal()
        operations = [
            one.operation.id
            for one in others
            if one.role is not None and has_access(principal, one.role, one.visibility)
        ]
        return json_response(caller_response(principal, operations))

    return Endpoint(
        "GET",
        "/v1/whoami",
        get_caller,
        Role.ENQUEUE,
        {200: CallerResponse},
        visibility=Visibility.OWN,
    )
