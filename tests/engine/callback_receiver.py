"""A real HTTP receiver of callbacks, which verifies each and answers as a test wants."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook

SECRET: Final = "whsec_" + "QUFB" * 11
OLD_SECRET: Final = "whsec_" + "QkJC" * 11

Answer = Callable[[web.Request, int], web.StreamResponse | None]
"""Answers the nth request (1 is the first); None: 204."""


def always(status: int = 200, **options: Any) -> Answer:
    """Answers every request alike."""

    def answer(_request: web.Request, _number: int) -> web.StreamResponse:
        return web.Response(status=status, **options)

    return answer


@dataclass
class ReceivedCallback:
    """One request that was verified."""

    id: str
    timestamp: int
    signatures: list[str]
    body: dict[str, Any]
    raw: bytes
    path: str

    @property
    def job_id(self) -> str:
        return str(self.body["data"]["id"])

    @property
    def sequence(self) -> int:
        return int(self.body["sequence"])

    @property
    def type(self) -> str:
        return str(self.body["type"])


@dataclass
class Receiver:
    """What came, in order."""

    url: str = ""
    received: list[ReceivedCallback] = field(default_factory=list[ReceivedCallback])
    requests: int = 0
    answer: Answer = field(default=lambda _request, _number: None)
    hangs: bool = False
    delay_s: float = 0.0
    """How long each answer takes."""
    under_way: int = 0
    most_at_once: int = 0

    @property
    def types(self) -> list[str]:
        return [one.type for one in self.received]

    def of_job(self, job_id: str) -> list[ReceivedCallback]:
        return [one for one in self.received if one.job_id == job_id]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        number = self.requests
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            raw = await request.read()
            Webhook(SECRET).verify(raw, dict(request.headers))
            self.received.append(
                ReceivedCallback(
                    id=request.headers["webhook-id"],
                    timestamp=int(request.headers["webhook-timestamp"]),
                    signatures=request.headers["webhook-signature"].split(" "),
                    body=msgspec.json.decode(raw),
                    raw=raw,
                    path=request.path_qs,
                )
            )
            if self.hangs:
                await asyncio.sleep(3_600)
            await asyncio.sleep(self.delay_s)
            return self.answer(request, number) or web.Response(status=204)
        finally:
            self.under_way -= 1


@asynccontextmanager
async def receiving(host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    bound = runner.addresses[0][1]
    receiver.url = f"http://{host}:{bound}"
    try:
        yield receiver
    finally:
        await runner.cleanup()
