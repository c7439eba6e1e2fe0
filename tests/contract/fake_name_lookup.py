"""A fake name service."""

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest


class FakeNameLookup:
    """Replaces `getaddrinfo`, and counts. uvloop also calls it for plain addresses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
        self.lookups = 0
        self.urls = list(urls)
        loop = asyncio.get_running_loop()
        self.usual = loop.getaddrinfo
        monkeypatch.setattr(loop, "getaddrinfo", self)

    async def __call__(self, host: str, port: int, **kwargs: Any) -> list[tuple[Any, ...]]:
        if host != "knouds.invalid":
            return list(await self.usual(host, port, **kwargs))
        self.lookups += 1
        await asyncio.sleep(0)
        if not self.urls:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        ports = [urlsplit(url).port for url in self.urls]
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, ("127.0.0.1", port)) for port in ports]


def refusing() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
