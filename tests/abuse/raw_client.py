"""A client that sends bytes as they are given, and reads what comes back."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import urlsplit

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class RawClient:
    """One connection to the API."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_head(self, method: str, path: str, *headers: str) -> None:
        await self.send(self.head(method, path, *headers))

    def head(self, method: str, path: str, *headers: str) -> bytes:
        return "\r\n".join(
            [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *headers, "", ""]
        ).encode()

    async def answer(self) -> tuple[int, bytes]:
        """Status and text of the next response: its head and what came with it."""
        async with asyncio.timeout(WITHIN_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length:")
            size = int(rest.split(b"\r\n", 1)[0]) if rest else 0
            return int(head.split()[1]), head + await self.reader.readexactly(size)

    async def is_closed(self) -> bool:
        """Whether the server closes it, with or without an answer before."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN_S):
                while await self.reader.read(65_536):
                    pass
        return True


@contextlib.asynccontextmanager
async def raw_client(url: str, begin: bytes = b"") -> AsyncGenerator[RawClient]:
    """A new connection whose first bytes arrive before the server can accept it."""
    origin = urlsplit(url)
    # It blocks: the server, in this event loop, sees nothing in between.
    opened = socket.create_connection((origin.hostname, origin.port), WITHIN_S)
    opened.sendall(begin)
    reader, writer = await asyncio.open_connection(sock=opened)
    try:
        yield RawClient(reader, writer, origin.netloc)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
