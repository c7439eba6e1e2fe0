"""The running sandbox: world, clock, courier, and how a verdict is carried out."""

import asyncio
from typing import assert_never

from aiohttp import web

from worker.sandbox.clock import Clock
from worker.sandbox.config import SandboxConfig
from worker.sandbox.http.webhooks import Courier
from worker.sandbox.provider.replies import Reply
from worker.sandbox.provider.responses import Answer, Drop, Finish, Hang, Verdict
from worker.sandbox.provider.state import World
from worker.sandbox.provider.submits import finish_sync
from worker.sandbox.provider.timers import Agenda


class Stage:
    """One sandbox. `reset` begins a new world on the same stage."""

    def __init__(self, config: SandboxConfig, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.agenda = Agenda()
        self.world = World(config, self.agenda)
        self.courier = Courier(config, clock, self.agenda)
        self._closing = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve the agenda."""
        self._work = asyncio.ensure_future(self.courier.work(self.world))

    async def stop(self) -> None:
        """End the loop and let go of every hanging connection."""
        self._closing.set()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self.courier.close()

    async def reset(self) -> None:
        """Forget everything; settings stay as they were at the start."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        self.agenda.clear()
        self.courier.begin_anew()
        self.world = World(self.config, self.agenda)
        await self.start()

    async def perform(
        self, request: web.Request, route: str, verdict: Verdict
    ) -> web.StreamResponse:
        """Carry out a verdict and count it."""
        match verdict:
            case Answer():
                for delivery in verdict.first:
                    await self.courier.deliver(delivery)
                await self._pause(route, verdict.delay_s)
                reply = verdict.reply
            case Finish():
                await self._until(route, verdict.run.ends_at)
                if verdict.fault is not None:
                    await self._pause(route, verdict.fault.spec.delay_s)
                # A timer may fire a hair before its time; the run has ended all the same.
                now = max(self.clock.now(), verdict.run.ends_at)
                reply = finish_sync(self.world, verdict, now)
            case Drop():
                await self._pause(route, verdict.delay_s)
                self.world.ledger.count(route, "dropped")
                return _cut(request)
            case Hang():
                self.world.ledger.count(route, "hung")
                await self._closing.wait()
                return _cut(request)
            case _:
                assert_never(verdict)
        self.world.ledger.count(route, reply.status)
        return respond(reply)

    async def _pause(self, route: str, seconds: float) -> None:
        if seconds > 0:
            await self._until(route, self.clock.now() + seconds)

    async def _until(self, route: str, when: float) -> None:
        """Wait; a caller who hangs up meanwhile is counted as `left`."""
        try:
            await self.clock.sleep_until(when)
        except asyncio.CancelledError:
            self.world.ledger.count(route, "left")
            raise


def respond(reply: Reply) -> web.Response:
    """Turn a reply into aiohttp's response."""
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers=reply.headers or None,
        content_type=reply.content_type,
    )


def _cut(request: web.Request) -> web.Response:
    """Close the connection; the response returned is for aiohttp only and is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
