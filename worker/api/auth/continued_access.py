"""Whether the caller of a request that lasts may go on: a token, a session or a role may end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from redis.exceptions import RedisError

from worker.api.auth.access import ACCESS
from worker.api.auth.principal import Principal, current_principal
from worker.api.problems import Problem

RECHECK_INTERVAL_S: Final = 3.0
"""How long a stream goes on after its caller's access has ended."""


def rights_check(request: web.Request) -> Callable[[], Awaitable[bool]]:
    """What tells whether the caller has the rights of now, still; raises `Problem` (401, 403)."""
    access, rights = request.app[ACCESS], _rights(current_principal())

    async def has_same_rights() -> bool:
        return _rights(await access.confirm(request)) == rights

    return has_same_rights


async def until_access_ends(request: web.Request) -> None:
    """Return when the caller of a request may not go on, or has other rights than at its begin."""
    has_same_rights = rights_check(request)
    while True:
        await asyncio.sleep(RECHECK_INTERVAL_S)
        # Without Redis nothing is known of sessions, and there are no events either.
        with contextlib.suppress(RedisError, OSError):
            try:
                if not await has_same_rights():
                    return
            except Problem:
                return


def _rights(principal: Principal) -> tuple[object, ...]:
    return principal.name, principal.role, principal.grants
