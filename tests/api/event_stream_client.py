"""A client of `/v1/events` that behaves like a browser's EventSource."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """One event; `id` is what the client remembers after it."""

    event: str
    data: Any
    id: str


@dataclass(slots=True)
class EventStreamClient:
    """Reads blocks off an open stream."""

    answer: aiohttp.ClientResponse
    last_id: str = ""
    text: list[str] = field(default_factory=list[str])

    async def next_event(self) -> StreamedEvent | None:
        """The next event; None at the end of the stream."""
        async with asyncio.timeout(WITHIN_S):
            while (block := await self._block()) is not None:
                facts = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
                self.last_id = facts.get("id", self.last_id)
                if "data" in facts:
                    data = msgspec.json.decode(facts["data"])
                    return StreamedEvent(facts["event"], data, self.last_id)
        return None

    async def transitions(self, count: int) -> list[tuple[str, str | None, str]]:
        """The next transitions: id, from, to."""
        found: list[tuple[str, str | None, str]] = []
        for _ in range(count):
            heard = await self.next_event()
            assert heard is not None
            assert heard.event == "job", heard
            found.append((heard.data["id"], heard.data["from"], heard.data["to"]))
        return found

    async def until_begun(self) -> None:
        """Wait until the stream has sent the id it begins at."""
        async with asyncio.timeout(WITHIN_S):
            while not self.last_id:
                block = await self._block()
                assert block is not None
                facts = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
                self.last_id = facts.get("id", "")

    async def _block(self) -> list[str] | None:
        lines: list[str] = []
        while line := await self.answer.content.readline():
            text = line.decode().rstrip("\n")
            if not text:
                return lines
            lines.append(text)
        return None


@asynccontextmanager
async def streaming(
    url: str, headers: Mapping[str, str] | None = None, **params: str
) -> AsyncGenerator[EventStreamClient]:
    """Listen for as long as the block lasts."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/v1/events", params=params, headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield EventStreamClient(answer)
