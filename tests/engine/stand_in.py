"""A stand-in for the provider over raw sockets: each response is the bytes that a test gives."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.contract.raw_server import ServerConnection, http, serving

Answer = Callable[[str], bytes]


def reply(http_status: int = 200, /, *headers: str, **members: object) -> bytes:
    """A JSON response."""
    return http(
        json.dumps(members).encode(), http_status, "Content-Type: application/json", *headers
    )


def page(status: int, text: str = "not here") -> bytes:
    """An HTML response."""
    return http(f"<!DOCTYPE html><html>{text}</html>".encode(), status, "Content-Type: text/html")


def result_of(execution_id: str) -> bytes:
    """The response to a poll of a run that is completed."""
    return reply(executionId=execution_id, status="completed", result={"text": execution_id})


@dataclass
class StandIn:
    """What it answers, and what it was asked. Its runs are `run-1`, `run-2` and so on."""

    url: str = ""
    submits: list[str] = field(default_factory=list[str])
    """The execution id that each submit would start."""
    polls: list[str] = field(default_factory=list[str])
    """The execution id of each poll."""
    on_submit: Answer = lambda run: reply(_async=True, executionId=run, requestId=f"req-{run}")
    on_poll: Answer = result_of
    on_whoami: bytes = field(
        default_factory=lambda: reply(user={"id": "u1", "tier": "business", "approved": True})
    )
    on_cancel: Answer = lambda run: reply(executionId=run, status="cancel_requested")

    def answer(self, line: str) -> bytes:
        method, path, _ = line.split(" ")
        if method == "GET" and path.startswith("/api/executions/"):
            self.polls.append(path.rpartition("/")[2])
            return self.on_poll(self.polls[-1])
        if path.endswith("/cancel"):
            return self.on_cancel(path.split("/")[-2])
        if method == "POST":
            self.submits.append(f"run-{len(self.submits) + 1}")
            return self.on_submit(self.submits[-1])
        if path == "/api/whoami":
            return self.on_whoami
        return reply(rows=[], total=0)


@asynccontextmanager
async def stand_in() -> AsyncGenerator[StandIn]:
    """Run a stand-in."""
    found = StandIn()

    async def script(peer: ServerConnection) -> None:
        while True:
            await peer.request()
            line = peer.server.requests[-1].partition("\r\n")[0]
            await peer.answer(found.answer(line))

    async with serving(script) as server:
        found.url = server.url
        yield found
