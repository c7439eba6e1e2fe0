"""Scripted raw-socket servers that misbehave, and a record of what they received."""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

ACCEPTED = b'{"_async": true, "executionId": "run-1", "requestId": "req-1"}'
WAIT_S = 5.0


def http(body: bytes, status: int = 200, *headers: str) -> bytes:
    """Encode an HTTP/1.1 response."""
    head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


@dataclass(slots=True)
class ServerConnection:
    """One connection, from the server's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "RawServer"
    number: int
    """Number of the connection, from 1."""

    async def head(self) -> str:
        """Read a request's head and count the request."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.server.requests.append(head)
        self.server.request_seen.set()
        return head

    async def request(self) -> bytes:
        """Read a whole request and return its body."""
        head = (await self.head()).lower()
        length = int(head.split("content-length:")[1].split()[0]) if "content-length" in head else 0
        body = await self.reader.readexactly(length)
        self.server.bodies.append(body)
        return body

    async def answer(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def hang(self) -> None:
        """Send nothing until the client closes; what it still sends is kept."""
        self.server.request_seen.set()
        self.server.leftovers.append(await self.reader.read())

    def send_in_kernel(self, data: bytes) -> None:
        """Send past the event loop: the client's kernel has it at once."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.sendall(data)

    def close_in_kernel(self) -> None:
        """Close past the event loop: only the kernels know."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[ServerConnection], Awaitable[None]]


@dataclass(slots=True)
class RawServer:
    """What the servers of one test received."""

    url: str = ""
    connections: list[ServerConnection] = field(default_factory=list[ServerConnection])
    requests: list[str] = field(default_factory=list[str])
    bodies: list[bytes] = field(default_factory=list[bytes])
    leftovers: list[bytes] = field(default_factory=list[bytes])
    request_seen: asyncio.Event = field(default_factory=asyncio.Event)
    """A request came, or a connection that hangs."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A script ended and its connection is closed."""


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncGenerator[RawServer]:
    """Run `script` for every connection, and close it when the script ends."""
    state = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def run(peer: ServerConnection) -> None:
        try:
            # uvloop raises RuntimeError if the client is gone.
            with suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
                await script(peer)
        finally:
            peer.writer.close()
            with suppress(OSError):
                await peer.writer.wait_closed()
            state.ended.set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ServerConnection(reader, writer, state, len(state.connections) + 1)
        state.connections.append(peer)
        task = asyncio.ensure_future(run(peer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def in_time(event: asyncio.Event) -> None:
    """Wait for an event that must come."""
    async with asyncio.timeout(WAIT_S):
        await event.wait()


async def turn_the_loop(turns: int = 10) -> None:
    """Let the event loop read what the kernel already holds: loopback delivers at once."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    """Run the loop until a condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0)
