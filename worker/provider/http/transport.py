"""Sends requests over pooled connections: once only for a submit, repeatable for all others.

`send_once` keeps three things apart: *never sent* (NotSent), *answered* (HttpResponse) and
*unknown* (Lost). A request of it is never repeated once a byte was written; see `send_gate`.
"""

import asyncio
import re
from typing import Final

from jobs.outcomes import CallFailure, Lost, NotSent
from worker.provider.http.connection import HttpResponse
from worker.provider.http.failures import RequestNotWritten, ServerDisconnected, describe
from worker.provider.http.pool import ConnectionPool, HttpOptions
from worker.provider.http.request import HttpRequest, Origin
from worker.provider.http.send_gate import SendGate
from worker.provider.port import SendMark

_MAX_TRIES: Final = 2
"""A reused connection that the server had closed costs a second try."""


class HttpTransport:
    """Sends requests to one base URL until `close`.

    `secrets`: what may not show in the text of a failure (see `text.sanitize`).
    """

    def __init__(
        self, base_url: str, options: HttpOptions, *, user_agent: str, secrets: re.Pattern[str]
    ) -> None:
        self._origin = Origin(base_url, user_agent)
        self._secrets = secrets
        self._pool = ConnectionPool(base_url, options)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def send_once(
        self, request: HttpRequest, timeout_s: float, mark: SendMark | None
    ) -> HttpResponse | NotSent | Lost:
        """Send a request that must not run twice; `mark` is recorded before its first byte.

        Tries again only if a reused connection was found closed before a byte was written. Raises
        what `mark` raises, and CancelledError: after the mark the outcome is then unknown.
        """
        for tries_left in reversed(range(_MAX_TRIES)):
            gate = SendGate(mark)
            try:
                return await self._send(request, timeout_s, gate)
            except Exception as error:  # noqa: BLE001  the gate knows what its type does not say
                if not gate.close():
                    return Lost(f"sent, then {self._describe(error)}", gate.status)
                if gate.mark_error is not None:
                    raise gate.mark_error from None
                if not (isinstance(error, RequestNotWritten) and gate.reused and tries_left):
                    return NotSent(self._describe(error))
                mark = gate.mark
            finally:
                gate.close()
        raise AssertionError("unreachable: the last try returns")

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse | CallFailure:
        """Send a request that may be repeated: again if a reused connection had been closed."""
        for tries_left in reversed(range(_MAX_TRIES)):
            try:
                return await self._send(request, timeout_s)
            except Exception as error:  # noqa: BLE001  whatever it was, the call may be repeated
                if not (isinstance(error, ServerDisconnected) and error.was_reused and tries_left):
                    return CallFailure(self._describe(error))
        raise AssertionError("unreachable: the last try returns")

    def _describe(self, error: Exception) -> str:
        return describe(error, self._secrets)

    async def _send(
        self,
        request: HttpRequest,
        timeout_s: float,
        gate: SendGate | None = None,
    ) -> HttpResponse:
        """Send one request over one connection, through the gate if there is one."""
        encoded = self._origin.encode(request)
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        connection = await self._pool.acquire()
        try:
            if gate is not None:
                async with asyncio.timeout_at(deadline):
                    await gate.record_mark()
                if clock() >= deadline:
                    raise TimeoutError
                gate.open(connection)
            return await connection.send(encoded, deadline)
        finally:
            self._pool.release(connection)
