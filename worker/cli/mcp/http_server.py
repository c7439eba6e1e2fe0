"""The server over streamable HTTP: each request carries the bearer token of its caller.

The token is sent on to the API as it came; the server has none of its own. Requests that name
another host, or come from a web page of another origin, are refused (DNS rebinding), before the API
is asked.
"""

import asyncio
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import Any, Final

import uvicorn
from mcp.server import Server, ServerRequestContext
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.cli.api_client import ApiClient, RequestRefused
from worker.cli.exit_codes import CommandFailure
from worker.cli.mcp.calls import ApiConnector, caller_of
from worker.cli.mcp.options import LOOPBACK, McpHttpOptions
from worker.cli.text import PROGRAM

PATH: Final = "/mcp"

EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104  compared, not bound

MAX_BODY_BYTES: Final = 2 << 20
MAX_REQUESTS: Final = 200
"""At a time; more are answered with 503."""
KEEP_ALIVE_S: Final = 30
STOP_S: Final = 3

TRUST_S: Final = 5.0
"""A token that the API took is not asked for again for so long. The API checks each call itself."""
MAX_TRUSTED: Final = 1_000

UNAUTHORIZED: Final = 401


def security_of(options: McpHttpOptions, port: int) -> TransportSecuritySettings:
    """What is checked of the headers `Host` and `Origin` by a server that listens on `port`."""
    own = [f"{in_url(name)}:{port}" for name in (*LOOPBACK, options.host) if name not in EVERYWHERE]
    return TransportSecuritySettings(
        allowed_hosts=[*own, *options.hosts],
        allowed_origins=[*(f"http://{name}" for name in own), *options.origins],
    )


def token_of_request(context: ServerRequestContext[Any, Any]) -> str | None:
    """The bearer token of the request that a message came with; never one of this process."""
    request: object = context.request
    return _bearer(request.headers) if isinstance(request, Request) else None


def listen(options: McpHttpOptions) -> socket:
    """A listening socket; raises `CommandFailure` where the address cannot be had."""
    family = AF_INET6 if ":" in options.host else AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without, each answer waits for 40 ms.
    bound = socket(family, SOCK_STREAM, IPPROTO_TCP)
    bound.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        bound.bind((options.host, options.port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        where = f"{options.host}:{options.port}"
        raise CommandFailure(f"cannot listen on {where} ({error.strerror}): --port") from None
    return bound


async def serve(
    server: Server[Any], api: ApiConnector, options: McpHttpOptions, bound: socket
) -> None:
    """Serve until SIGINT or SIGTERM."""
    security = security_of(options, bound.getsockname()[1])
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        max_request_body_size=MAX_BODY_BYTES,
        transport_security=security,
    )
    config = uvicorn.Config(
        GuardedApp(app, api, security, needs_token=not options.is_loopback),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MAX_REQUESTS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )
    running, loop = _QuietServer(config), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.handle_exit, number, None)
    await running.serve(sockets=[bound])


class _QuietServer(uvicorn.Server):
    """A server that leaves signals to us: uvicorn raises them again once it has stopped."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Change no handler."""
        yield


class GuardedApp:
    """An ASGI application behind the checks of host, origin and token."""

    def __init__(
        self,
        app: ASGIApp,
        api: ApiConnector,
        security: TransportSecuritySettings,
        *,
        needs_token: bool,
    ) -> None:
        self._app = app
        self._api = api
        self._needs_token = needs_token
        """Whether to refuse callers without one, whatever the API says."""
        self._security = TransportSecurityMiddleware(security)
        self._trusted: dict[str, float] = {}
        """Digest of a token that the API took → until when it is not asked again."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "http" and (refusal := await self._refusal(Request(scope))):
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        if refusal := await self._security.validate_request(request, is_post=False):
            return refusal
        token = _bearer(request.headers)
        if token is None and self._needs_token:
            return _unauthorized("send a token of the API as `Authorization: Bearer <secret>`")
        digest, now = caller_of(token), time.monotonic()
        if self._trusted.get(digest, 0.0) > now:
            return None
        try:
            async with self._api.session(token) as http:
                await ApiClient(http, self._api.base_url).get("whoami")
        except RequestRefused as failure:
            if failure.status == UNAUTHORIZED:
                return _unauthorized(failure.message)
            return PlainTextResponse(failure.message + "\n", failure.status)
        except CommandFailure as failure:
            return PlainTextResponse(failure.message + "\n", 503)
        while len(self._trusted) >= MAX_TRUSTED:
            del self._trusted[next(iter(self._trusted))]
        self._trusted.pop(digest, None)
        self._trusted[digest] = now + TRUST_S
        return None


def _unauthorized(message: str) -> Response:
    headers = {"WWW-Authenticate": f'Bearer realm="{PROGRAM}"'}
    return PlainTextResponse(message + "\n", UNAUTHORIZED, headers)


def _bearer(headers: Headers) -> str | None:
    sent = headers.getlist("authorization")
    if len(sent) != 1:
        return None
    scheme, _, token = sent[0].partition(" ")
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def in_url(host: str) -> str:
    """A host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host
