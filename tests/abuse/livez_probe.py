"""Asks `/livez` again and again, each time over a new connection, from a process of its own.

`python -m tests.abuse.livez_probe HOST PORT SECONDS` prints the sorted latencies, seconds as JSON;
one that got no answer within the timeout counts as the timeout.
"""

import asyncio
import contextlib
import json
import sys
import time

INTERVAL_S = 0.05
TIMEOUT_S = 5.0
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def ask(host: str, port: int) -> float:
    """Seconds until the answer; the timeout if there was none."""
    started = time.monotonic()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(REQUEST)
                if (await reader.readline()).startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - started
    return TIMEOUT_S


async def probe(host: str, port: int, seconds: float) -> list[float]:
    """Ask at a steady pace, whether the last question was answered or not."""
    until = time.monotonic() + seconds
    asked: list[asyncio.Task[float]] = []
    while time.monotonic() < until:
        asked.append(asyncio.create_task(ask(host, port)))
        await asyncio.sleep(INTERVAL_S)
    return sorted(await asyncio.gather(*asked))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(probe(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))  # noqa: T201
