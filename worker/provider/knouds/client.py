"""The provider over HTTP: a thin shell of connections around the sans-IO wire.

It keeps three things apart, exactly: *never sent* (`NotSent`), *refused* (an answer, read by the
wire) and *unknown* (`Lost`). A submit is never repeated once a byte of it was written. See `gate`
for how that is known.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog
from pydantic import SecretStr

from jobs.lanes import Lane, Scope, polls_scope
from jobs.outcomes import Lost, NotSent, PollFailed, PollOutcome, SubmitOutcome
from jobs.states import Kind, Mode
from worker.provider.http.connection import HttpResponse
from worker.provider.http.failures import RequestNotWritten, ServerDisconnected, describe
from worker.provider.http.pool import ConnectionPool
from worker.provider.http.send_gate import BeforeWrite, SendGate
from worker.provider.knouds import calls, wire
from worker.provider.knouds.calls import HttpRequest, Origin
from worker.provider.port import CallFailure, CancelOutcome, Identity, RateLimitSeen, WorkflowSchema

OnRateLimit = Callable[[str, Scope, RateLimitSeen | None, int], None]
"""Told the account, the route (`default/model`, `default/executions`), what an answer's headers
said of limits (None: nothing) and its status."""

_KEEPALIVE_S: Final = 15.0
"""Idle connections are closed before the server closes them: a submit that meets such a close is
lost. Common servers and balancers keep them for 60 s and more; Node's default is 5 s, which is why
the gate also looks at a reused connection right before it writes."""

_MAX_ATTEMPTS: Final = 2
"""A kept connection that turned out closed costs a second try."""

_log = structlog.get_logger(__name__)


class UnknownAccount(LookupError):
    """A job names an account that has no API key in the settings."""

    def __init__(self, account: str) -> None:
        super().__init__(
            f"account {account!r} has no API key: set KNOUDS_API_KEY for `default`, or add the"
            " account to KNOUDS_API_KEYS",
        )
        self.account = account


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long calls may take, in seconds; `poll_s` also bounds all calls that run nothing.

    `connect_s` covers the wait for a free connection, DNS, TCP and TLS; the others cover a whole
    call, connection included.
    """

    connect_s: float = 10.0
    submit_s: float = 30.0
    sync_s: float = 600.0
    poll_s: float = 15.0


class KnoudsClient:
    """The provider's API, for as long as its `async with` block lasts.

    `accounts`: API keys by account label. `connections`: most at once; a call beyond waits, within
    its `connect_s`. `max_answer_bytes`: a longer answer is not read. `tls`: what to trust.
    """

    def __init__(
        self,
        base_url: str,
        accounts: Mapping[str, SecretStr],
        *,
        timeouts: Timeouts = Timeouts(),
        max_connections: int = 200,
        keepalive_s: float = _KEEPALIVE_S,
        max_body_bytes: int = 64 << 20,
        on_rate_limit: OnRateLimit | None = None,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._base_url = base_url
        self._origin = Origin(base_url)
        self._accounts = accounts
        self._timeouts = timeouts
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._max_body_bytes = max_body_bytes
        self._on_rate_limit = on_rate_limit
        self._clock = clock
        self._tls = tls
        self._pool: ConnectionPool | None = None

    async def open(self) -> None:
        """Be ready; connections come with the first calls."""
        self._pool = ConnectionPool(
            self._base_url,
            max_connections=self._max_connections,
            connect_s=self._timeouts.connect_s,
            keepalive_s=self._keepalive_s,
            max_body_bytes=self._max_body_bytes,
            tls=self._tls,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def submit(
        self,
        kind: Kind,
        target: str,
        account: str,
        inputs: bytes,
        mode: Mode,
        *,
        before_write: BeforeWrite | None = None,
    ) -> SubmitOutcome:
        """Ask for a run; `inputs` is a JSON object as text, passed on byte for byte.

        `before_write` is awaited once, when the connection stands and before the first byte; if it
        raises, nothing is sent and its exception comes out. Raises UnknownAccount, and
        CancelledError as it is: whether the run started is then unknown if `before_write` was done.
        """
        request = calls.submit(kind, target, inputs, mode, self._key(account))
        total_s = self._timeouts.submit_s if mode is Mode.ASYNC else self._timeouts.sync_s
        answer = await self._submit(request, total_s, before_write)
        if not isinstance(answer, HttpResponse):
            return answer
        self._report_rate_limit(account, Lane(account, kind, target).route, answer)
        return wire.read_submit(answer.status, answer.headers, answer.body, self._clock())

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Ask how a run stands. Raises UnknownAccount."""
        request = calls.poll(execution_id, self._key(account))
        answer = await self._call(account, request, polls_scope(account))
        if isinstance(answer, CallFailure):
            return PollFailed(answer.why)
        return wire.read_poll(answer.status, answer.headers, answer.body, self._clock())

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Ask to cancel a run; harmless to repeat. Raises UnknownAccount."""
        request = calls.cancel(execution_id, self._key(account))
        answer = await self._call(account, request, polls_scope(account))
        if isinstance(answer, CallFailure):
            return answer
        return wire.read_cancel(answer.status, answer.headers, answer.body, self._clock())

    async def whoami(self, account: str) -> Identity | CallFailure:
        """Ask whose key it is: the check of a key. Raises UnknownAccount."""
        answer = await self._call(account, calls.whoami(self._key(account)), None)
        if isinstance(answer, CallFailure):
            return answer
        return wire.read_whoami(answer.status, answer.headers, answer.body, self._clock())

    async def schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        """Ask what a workflow takes and costs. Raises UnknownAccount."""
        answer = await self._call(account, calls.schema(slug, self._key(account)), None)
        if isinstance(answer, CallFailure):
            return answer
        return wire.read_schema(answer.status, answer.headers, answer.body, self._clock())

    def _key(self, account: str) -> str:
        key = self._accounts.get(account)
        if key is None:
            raise UnknownAccount(account)
        return key.get_secret_value()

    async def _submit(
        self, request: HttpRequest, total_s: float, before_write: BeforeWrite | None
    ) -> HttpResponse | NotSent | Lost:
        """Send a submit; again only where a kept connection was found closed before a byte left."""
        pool = self._require_pool()
        for tries_left in reversed(range(_MAX_ATTEMPTS)):
            gate = SendGate(before_write)
            try:
                return await self._send(pool, request, total_s, gate)
            except Exception as error:  # noqa: BLE001  its type does not tell what the gate does
                if not gate.close():
                    return Lost(f"sent, then {describe(error)}", gate.status)
                if gate.hook_error is not None:
                    raise gate.hook_error from None
                if not (isinstance(error, RequestNotWritten) and gate.reused and tries_left):
                    return NotSent(describe(error))
                before_write = gate.before_write
            finally:
                gate.close()
        raise AssertionError("unreachable: the last try returns")

    async def _call(
        self, account: str, request: HttpRequest, route: Scope | None
    ) -> HttpResponse | CallFailure:
        """Make a call that costs nothing: again, where a kept connection had been closed."""
        pool = self._require_pool()
        for tries_left in reversed(range(_MAX_ATTEMPTS)):
            try:
                answer = await self._send(pool, request, self._timeouts.poll_s)
            except Exception as error:  # noqa: BLE001  whatever it was, the call may be made again
                if not (isinstance(error, ServerDisconnected) and error.was_reused and tries_left):
                    return CallFailure(describe(error))
            else:
                if route is not None:
                    self._report_rate_limit(account, route, answer)
                return answer
        raise AssertionError("unreachable: the last try returns")

    def _require_pool(self) -> ConnectionPool:
        if self._pool is None:
            raise RuntimeError("use the provider inside `async with`, or open() it first")
        return self._pool

    async def _send(
        self,
        pool: ConnectionPool,
        request: HttpRequest,
        total_s: float,
        gate: SendGate | None = None,
    ) -> HttpResponse:
        """One request over one connection; a submit's gate knows whether its bytes went out."""
        wanted = self._origin.encode(request)
        clock = asyncio.get_running_loop().time
        until = clock() + total_s
        connection = await pool.acquire()
        try:
            if gate is not None:
                async with asyncio.timeout_at(until):
                    await gate.run_hook()
                if clock() >= until:
                    raise TimeoutError
                gate.open(connection)
            return await connection.send(wanted, until)
        except ServerDisconnected as error:
            error.was_reused = connection.reused
            raise
        finally:
            pool.release(connection)

    def _report_rate_limit(self, account: str, route: Scope, response: HttpResponse) -> None:
        """Pass on what the headers said. A listener that fails must not cost a paid answer."""
        if self._on_rate_limit is None:
            return
        try:
            seen = wire.read_rate_limit(response.headers, self._clock())
            self._on_rate_limit(account, route, seen, response.status)
        except Exception:  # noqa: BLE001  whatever it was, the answer comes first
            _log.exception("rate_limit.not_recorded", account=account, route=route)
