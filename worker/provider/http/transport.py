"""Sends requests with aiohttp: once only for a submit, repeatable for all others.

`send_once` keeps three things apart: *never sent* (NotSent), *answered* (HttpResponse) and
*unknown* (Lost). A request of it is never repeated once its body was written; see `send_gate`.
aiohttp itself repeats only methods that are idempotent (RFC 9110, section 9.2.2); a submit is POST.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Final

import aiohttp

from jobs.outcomes import CallFailure, Lost, LostCause, NotSent
from worker.provider.http.connector import CheckedConnector
from worker.provider.http.encodings import decoded
from worker.provider.http.failures import (
    NEVER_CONNECTED,
    NOT_CONNECTED,
    REPEATABLE_ERRORS,
    ClientClosed,
    FailureTexts,
    ResponseTooLarge,
)
from worker.provider.http.options import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    HttpOptions,
    HttpResponse,
    TimeLimit,
)
from worker.provider.http.request import HttpRequest, Origin, check_headers
from worker.provider.http.send_gate import GatedBody, SendGate
from worker.provider.port import SendMark

_MAX_TRIES: Final = 3
"""A reused connection that ended before it was used costs another try."""

_PROXY_AUTHENTICATION: Final = 407


class HttpTransport:
    """Sends requests to one base URL until `close`; it connects with its first call.

    `secrets`: what may not show in the text of a failure (see `text.sanitize`).
    """

    def __init__(
        self, base_url: str, options: HttpOptions, *, user_agent: str, secrets: re.Pattern[str]
    ) -> None:
        self._origin = Origin(base_url)
        self._options = options
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._texts = FailureTexts(
            self._origin, options.path, options.names, options.connect_s, secrets
        )
        self._submits: _Session | None = None
        self._calls: _Session | None = None
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    @property
    def network_path(self) -> str:
        """The way to the server, without credentials."""
        return self._options.path.describe()

    @property
    def plain_proxy(self) -> str:
        """The proxy that may answer a request itself, without credentials; empty if none can."""
        return self._texts.plain_proxy

    async def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        sessions, self._submits, self._calls = (self._submits, self._calls), None, None
        for session in sessions:
            if session is not None:
                await session.client.close()

    async def send_once(
        self, request: HttpRequest, limit: TimeLimit, mark: SendMark | None
    ) -> HttpResponse | NotSent | Lost:
        """Send a request that must not run twice; `mark` is recorded before its first byte.

        Tries again only if a reused connection was found closed before a byte was written. Raises
        what `mark` raises, and CancelledError: after the mark the outcome is then unknown.
        """
        gate = SendGate(mark)
        for tries_left in reversed(range(_MAX_TRIES)):
            gate.found_stale, gate.refusal = False, None
            try:
                response = await self._send_through(request, limit, gate)
            except Exception as error:  # noqa: BLE001  the gate knows what its type does not say
                if gate.mark_error is not None:
                    raise gate.mark_error from None
                if gate.is_open:
                    return self._lost(error, limit, gate)
                if gate.found_stale and tries_left:
                    continue
                return NotSent(self._describe(error, limit, gate))
            return self._not_run(response) or response
        raise AssertionError("unreachable: the last try returns")

    async def send(self, request: HttpRequest, limit: TimeLimit) -> HttpResponse | CallFailure:
        """Send a request that may be repeated: again if a reused connection had been closed.

        aiohttp does so by itself for a GET.
        """
        may_repeat = request.method != "GET"
        while True:
            head = _Head()
            try:
                async with asyncio.timeout(limit.seconds):
                    response = await self._exchange(self._call_session(), request, None, head)
            except Exception as error:  # noqa: BLE001  whatever it was, the call may be repeated
                status, cause = _unread(error)
                status = status or head.status
                if not (may_repeat and _is_closed_connection(cause)):
                    why = self._texts.describe(cause, limit)
                    return CallFailure(why, status, is_unsent=isinstance(cause, NOT_CONNECTED))
                may_repeat = False
            else:
                refused = self._not_run(response)
                return response if refused is None else CallFailure(refused.why, is_unsent=True)

    def _describe(self, error: Exception, limit: TimeLimit, gate: SendGate) -> str:
        _, error = _unread(error)
        cause = error if gate.is_open or gate.refusal is None else gate.refusal
        if isinstance(error, TimeoutError):
            cause = error
        return self._texts.describe(cause, limit, gate.phase)

    def _lost(self, error: Exception, limit: TimeLimit, gate: SendGate) -> Lost:
        is_timeout = isinstance(error, TimeoutError) and gate.status is None
        why = f"sent, then {self._describe(error, limit, gate)}"
        return Lost(why, gate.status, LostCause.TIMEOUT if is_timeout else None)

    def _not_run(self, response: HttpResponse) -> NotSent | None:
        """Read a response that proves that the server did not run the request."""
        if response.status == _PROXY_AUTHENTICATION and self._options.path.proxy_url is not None:
            return NotSent(self._texts.proxy_wants_password())
        return None

    async def _send_through(
        self, request: HttpRequest, limit: TimeLimit, gate: SendGate
    ) -> HttpResponse:
        """Send one request through the gate; unwritten bytes are dropped if it fails."""
        session = self._submit_session()
        now = asyncio.get_running_loop().time()
        gate.deadline = now + limit.seconds
        try:
            async with asyncio.timeout_at(
                now + min(self._options.connect_s, limit.seconds)
            ) as timer:
                gate.connecting = timer
                try:
                    response = await self._exchange(session, request, gate)
                finally:
                    gate.raise_interrupt()
        except BaseException:
            gate.abort()
            raise
        if not response.body_sent:
            gate.abort()
        elif gate.protocol is not None:
            session.connector.note_response(gate.protocol, response.headers)
            if _ends_with_connection(response) and session.connector.was_reset(gate.protocol):
                return replace(response, is_cut=True)
        return response

    async def _exchange(
        self,
        session: "_Session",
        request: HttpRequest,
        gate: SendGate | None,
        head: "_Head | None" = None,
    ) -> HttpResponse:
        check_headers(request.headers)
        body = None
        if gate is not None:
            content_type = request.headers.get("content-type", "application/octet-stream")
            body = GatedBody(request.body or b"", gate, content_type)
        answer = await session.client.request(
            request.method,
            self._origin.url(request),
            headers=request.headers,
            data=body,
            trace_request_ctx=gate,
            allow_redirects=False,
            # Costs time, so only where aiohttp would add one that says nothing.
            skip_auto_headers=None if gate or request.method == "GET" else ("Content-Type",),
            proxy=self._options.path.proxy_url,
        )
        if head is not None:
            head.status = answer.status
        try:
            return await self._read(answer, gate)
        finally:
            answer.close()

    async def _read(self, answer: aiohttp.ClientResponse, gate: SendGate | None) -> HttpResponse:
        headers = _joined(answer.headers)
        body_sent = gate is None or gate.is_written()
        if gate is not None:
            gate.status = answer.status
        max_bytes = self._options.max_body_bytes
        try:
            body = await _read_body(answer.content, max_bytes)
            body = decoded(body, headers.get("content-encoding", ""), max_bytes)
        except Exception as error:
            raise _BodyUnread(answer.status, error) from error
        return HttpResponse(answer.status, headers, body, body_sent)

    def _submit_session(self) -> "_Session":
        self._submits = self._submits or self._new_session(is_traced=True)
        return self._submits

    def _call_session(self) -> "_Session":
        self._calls = self._calls or self._new_session(is_traced=False)
        return self._calls

    def _new_session(self, *, is_traced: bool) -> "_Session":
        if self._is_closed:
            raise ClientClosed
        if self._tls is None and self._options.needs_tls(self._origin.scheme):
            self._tls = self._options.tls_context()
        return _Session(self._options, self._tls, self._headers, is_traced=is_traced)


class _Session:
    """A client session and its connections; the one of submits is traced."""

    def __init__(
        self,
        options: HttpOptions,
        tls: ssl.SSLContext | None,
        headers: Mapping[str, str],
        *,
        is_traced: bool,
    ) -> None:
        self.connector = CheckedConnector(
            options,
            tls,
            idle_s=options.submit_idle_s if is_traced else options.repeatable_idle_s,
            quiet_s=options.submit_quiet_s if is_traced else 0.0,
        )
        self.client = aiohttp.ClientSession(
            connector=self.connector,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None,
                # A submit's own timer goes on to its deadline once the connection stands.
                connect=None if is_traced else options.connect_s,
                sock_connect=options.connect_s,
            ),
            trace_configs=[_trace_config()] if is_traced else [],
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )


def _trace_config() -> aiohttp.TraceConfig:
    """Signals that are awaited when a connection stands, before a head is written."""
    config = aiohttp.TraceConfig()

    async def created(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        await context.trace_request_ctx.record_mark(is_reused=False)

    async def reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        await context.trace_request_ctx.record_mark(is_reused=True)

    config.on_connection_create_end.append(created)
    config.on_connection_reuseconn.append(reused)
    return config


@dataclass(slots=True)
class _Head:
    """What is known of a response whose body may never end."""

    status: int | None = None


class _BodyUnread(Exception):
    """The head of a response came, and its body could not be read."""

    def __init__(self, status: int, error: Exception) -> None:
        super().__init__(status)
        self.status, self.error = status, error


def _unread(error: Exception) -> tuple[int | None, Exception]:
    """The status of the response, if a head came, and what went wrong."""
    return (error.status, error.error) if isinstance(error, _BodyUnread) else (None, error)


async def _read_body(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    """Read a body of at most `max_bytes`. Raises ResponseTooLarge."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise ResponseTooLarge
        if content.at_eof():  # as after the first chunk of most
            break
    return b"".join(chunks)


def _ends_with_connection(response: HttpResponse) -> bool:
    """Whether only the end of the connection ends the body (RFC 9112, section 6.3)."""
    return not response.headers.keys() & {"content-length", "transfer-encoding"}


def _joined(headers: Mapping[str, str]) -> dict[str, str]:
    joined = {name.lower(): value for name, value in headers.items()}
    if len(joined) == len(headers):
        return joined
    joined.clear()
    for name, value in headers.items():
        lower = name.lower()
        joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value
    return joined


def _is_closed_connection(error: Exception) -> bool:
    return isinstance(error, REPEATABLE_ERRORS) and not isinstance(error, NEVER_CONNECTED)
