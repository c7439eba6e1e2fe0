"""Whether the caller of a request that lasts may go on: a token, a session or a role may end."""

import asyncio
import contextlib
from typing import Final

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.auth.access import ACCESS
from worker.api.auth.principal import Principal, current_principal
from worker.api.problems import Problem

RECHECK_INTERVAL_S: Final = 3.0
"""How long a stream goes on after its caller's access has ended."""


async def until_access_ends(request: web.Request) -> None:
    """Return when the caller of a request may not go on, or has other rights than at its begin."""
    access, rights = request.app[ACCESS], _rights(current_principal())
    while True:
        await asyncio.sleep(RECHECK_INTERVAL_S)
        # Without Redis nothing is known of sessions, and there are no events either.
        with contextlib.suppress(RedisError, OSError):
            try:
                principal = await access.confirm(request)
            except Problem:
                return
            if _rights(principal) != rights:
                return


def _rights(principal: Principal) -> tuple[object, ...]:
    return principal.name, principal.role, principal.grants
