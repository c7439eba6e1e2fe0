"""A small HTTP proxy on loopback: it tunnels with CONNECT, and forwards plain requests."""

import asyncio
import base64
from contextlib import suppress
from urllib.parse import urlsplit

from tests.contract.raw_server import Script, ServerConnection

LOGIN = "worker:pass-word%40"
"""User and password as in a URL; the password is `pass-word@`."""

AUTHORIZATION = "proxy-authorization: basic " + base64.b64encode(b"worker:pass-word@").decode()


async def tunnel(peer: ServerConnection) -> None:
    """Connect to where a CONNECT points, and pass bytes on both ways."""
    head = await peer.head()
    host, _, port = head.split(" ")[1].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await peer.answer(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await _relay(peer, reader, writer)


async def forward(peer: ServerConnection) -> None:
    """Send one plain request on to its server, with its path alone."""
    head = await peer.head()
    method, url, version = head.split("\r\n")[0].split(" ")
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        head.replace(f"{method} {url} {version}", f"{method} {parts.path} {version}").encode()
    )
    await _relay(peer, reader, writer)


async def _relay(
    peer: ServerConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):
            while data := await source.read(1 << 16):
                target.write(data)
            target.close()

    try:
        await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))
    finally:
        writer.close()


def refusing_with(status: int, reason: str) -> Script:
    """Refuse every request."""

    async def script(peer: ServerConnection) -> None:
        await peer.head()
        await peer.answer(f"HTTP/1.1 {status} {reason}\r\nContent-Length: 2\r\n\r\n<>".encode())

    return script
