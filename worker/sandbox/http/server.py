"""The running sandbox: state, clock, timers, webhooks, and how a response is sent."""

import asyncio
from typing import assert_never

from aiohttp import web

from worker.sandbox.clock import SandboxClock
from worker.sandbox.config import SandboxConfig
from worker.sandbox.http.webhooks import DeliveryCounts, WebhookSender
from worker.sandbox.provider import responses
from worker.sandbox.provider.replies import SandboxReply
from worker.sandbox.provider.state import SandboxState
from worker.sandbox.provider.submits import finished_reply
from worker.sandbox.provider.timers import TimerQueue


class SandboxServer:
    """One sandbox. `reset` starts again with a new state."""

    def __init__(self, config: SandboxConfig, clock: SandboxClock) -> None:
        self.config = config
        self.clock = clock
        self.timers = TimerQueue()
        self.state = SandboxState(config, self.timers)
        self.webhooks = WebhookSender(config, clock, self.timers)
        self._stopping = asyncio.Event()
        self._timer_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to perform the timers."""
        self._timer_task = asyncio.ensure_future(self.webhooks.run(self.state))

    async def stop(self) -> None:
        """Stop the timers and close every hanging connection."""
        self._stopping.set()
        await self._stop_timers()
        await self.webhooks.close()

    async def reset(self) -> None:
        """Start again with a new state; the settings stay."""
        await self._stop_timers()
        self.timers.clear()
        self.webhooks.counts = DeliveryCounts()
        self.state = SandboxState(self.config, self.timers)
        self.start()

    async def _stop_timers(self) -> None:
        if self._timer_task is not None:
            self._timer_task.cancel()
            await asyncio.gather(self._timer_task, return_exceptions=True)

    async def perform(
        self, request: web.Request, route: str, response: responses.SandboxResponse
    ) -> web.StreamResponse:
        """Send what `response` says, and count the request."""
        match response:
            case responses.SendReply():
                for delivery in response.webhooks_first:
                    await self.webhooks.deliver(delivery)
                await self._pause(route, response.delay_s)
                reply = response.reply
            case responses.FinishSync():
                await self._sleep_until(route, response.run.ends_at)
                if response.fault is not None:
                    await self._pause(route, response.fault.spec.delay_s)
                # A timer may fire a little early; the run has ended all the same.
                now = max(self.clock.now(), response.run.ends_at)
                reply = finished_reply(self.state, response.run, now)
                reply = responses.garble_reply(response.fault, reply.with_headers(response.headers))
            case responses.DropConnection():
                await self._pause(route, response.delay_s)
                self.state.ledger.count(route, "dropped")
                return _abort_connection(request)
            case responses.HangConnection():
                self.state.ledger.count(route, "hung")
                await self._stopping.wait()
                return _abort_connection(request)
            case _:
                assert_never(response)
        self.state.ledger.count(route, reply.status)
        return respond(reply)

    async def _pause(self, route: str, seconds: float) -> None:
        if seconds > 0:
            await self._sleep_until(route, self.clock.now() + seconds)

    async def _sleep_until(self, route: str, when: float) -> None:
        """Wait; a caller who disconnects meanwhile is counted as `left`."""
        try:
            await self.clock.sleep_until(when)
        except asyncio.CancelledError:
            self.state.ledger.count(route, "left")
            raise


def respond(reply: SandboxReply) -> web.Response:
    """Return a reply as aiohttp's response."""
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers=reply.headers or None,
        content_type=reply.content_type,
    )


def _abort_connection(request: web.Request) -> web.Response:
    """Close the connection; the returned response is for aiohttp only and is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
