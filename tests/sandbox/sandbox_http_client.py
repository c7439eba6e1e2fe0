"""A client of a sandbox, and a mailbox for its webhooks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from worker.sandbox import DEFAULT_KEY, SettableClock

JSON = "application/json"


class _Coded(msgspec.Struct):
    code: str | None = None


@dataclass(frozen=True, slots=True)
class CallReply:
    """One response: `json` is None where the body is not JSON."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    json: Any

    @property
    def code(self) -> str | None:
        """The error code, or None."""
        try:
            return msgspec.json.decode(self.raw, type=_Coded).code
        except msgspec.DecodeError:
            return None


@dataclass(frozen=True, slots=True)
class SandboxHttpClient:
    """A client of one sandbox with a settable clock."""

    url: str
    http: aiohttp.ClientSession
    clock: SettableClock

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = DEFAULT_KEY,
        data: bytes | None = None,
    ) -> CallReply:
        """Make one request."""
        headers = {} if key is None else {"x-api-key": key}
        async with self.http.request(
            method, self.url + path, data=data, headers=headers
        ) as response:
            raw = await response.read()
            return CallReply(response.status, response.headers, raw, _json_or_none(raw))

    async def submit(
        self,
        name: str = "suno",
        *,
        kind: str = "models",
        mode: str = "async",
        key: str | None = DEFAULT_KEY,
        inputs: dict[str, Any] | None = None,
        **options: Any,
    ) -> CallReply:
        """Submit a run; `options` become `inputs.sandbox`."""
        body = {"inputs": {**(inputs or {}), "sandbox": options}}
        query = "?async=true" if mode == "async" else ""
        path = f"/api/{kind}/{name}/run{query}"
        return await self.call("POST", path, key=key, data=msgspec.json.encode(body))

    async def start(self, name: str = "suno", **options: Any) -> str:
        """Start an async run that must be accepted; return its execution id."""
        got = await self.submit(name, **options)
        assert got.status == 200, got.raw
        execution_id = got.json["executionId"]
        assert isinstance(execution_id, str)
        return execution_id

    async def poll(self, execution_id: str, *, key: str | None = DEFAULT_KEY) -> CallReply:
        """Poll a run."""
        return await self.call("GET", f"/api/executions/{execution_id}", key=key)

    async def cancel(self, execution_id: str, *, key: str | None = DEFAULT_KEY) -> CallReply:
        """Cancel a run."""
        return await self.call("POST", f"/api/executions/{execution_id}/cancel", key=key)

    async def admin_post(self, path: str, **body: Any) -> Any:
        """Make an admin call that must succeed."""
        data = msgspec.json.encode(body)
        got = await self.call("POST", f"/_sandbox/{path}", key=None, data=data)
        assert got.status == 200, got.raw
        return got.json

    async def admin_get(self, path: str) -> Any:
        """Read an admin report."""
        return (await self.call("GET", f"/_sandbox/{path}", key=None)).json

    async def label(self, label: str) -> Any:
        """Return one label's entry of the ledger."""
        return (await self.admin_get(f"ledger?label={label}"))["labels"][label]

    async def user(self, user_id: str = "user_sandbox") -> Any:
        """Return one user's account."""
        users = (await self.admin_get("state"))["users"]
        return next(user for user in users if user["id"] == user_id)


@dataclass(slots=True)
class WebhookMailbox:
    """A receiver of webhooks; `answers` are the statuses of the first deliveries, then 200."""

    url: str = ""
    answers: list[int] = field(default_factory=list[int])
    deliveries: asyncio.Queue[tuple[Mapping[str, str], bytes]] = field(
        default_factory=asyncio.Queue[tuple[Mapping[str, str], bytes]]
    )

    async def receive(self, request: web.Request) -> web.Response:
        """Receive a delivery."""
        self.deliveries.put_nowait((request.headers, await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def next(self) -> Any:
        """Return the next delivery's body, within two seconds."""
        _, raw = await asyncio.wait_for(self.deliveries.get(), 2)
        return msgspec.json.decode(raw)


async def wait_until(true: Callable[[], Awaitable[bool]], timeout_s: float = 2.0) -> None:
    """Return once `true()`; fail after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not await true():  # noqa: ASYNC110 - the other side is behind HTTP
            await asyncio.sleep(0.002)


def _json_or_none(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
