"""2,000 async runs whose ends are delivered, one worker, one API: python -m bench.webhooks [RUNS].

Durations lognormal around 3 s (sigma 0.5, at most 10 s), all enqueued at once; first with every
delivery, then with a fifth of them lost and a fifth doubled: those are found by the polls of the
safety net. Requests are those we send: submits, polls, cancels; deliveries come to us. Five
minutes, most of it waiting for the safety net.
"""

import asyncio
import json
import sys
from typing import Final

import aiohttp
from pydantic import SecretStr

from bench.running import Bench, system
from bench.thousand import SANDBOX, measure
from worker.web import running

SECRET: Final = "whsec_of_a_benchmark"  # noqa: S105
SHARES: Final = {"every delivery": (0.0, 0.0), "a fifth lost, a fifth doubled": (0.2, 0.2)}
"""What is measured: the shares of deliveries that are lost and doubled."""


async def _hook(bench: Bench, api: str, lost: float, doubled: float) -> None:
    url = f"{api}/webhooks/knouds"
    told = {"url": url, "secret": SECRET, "lost": lost, "doubled": doubled}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(f"{bench.sandbox}/_sandbox/webhook", json=told),
    ):
        pass


async def _run(runs: int, lost: float, doubled: float) -> dict[str, float]:
    async with system(sandbox=SANDBOX, KNOUDS_WEBHOOK_SECRET=SECRET) as bench:
        settings = bench.settings.model_copy(
            update={"http_port": 0, "webhook_secret": SecretStr(SECRET)}
        )
        async with running(settings, bench.store) as api:
            await _hook(bench, api, lost, doubled)
            return await measure(bench, runs)


async def main(runs: int) -> None:
    """Measure and print."""
    rows = {name: await _run(runs, *shares) for name, shares in SHARES.items()}
    for name, found in rows.items():
        print(name)  # noqa: T201
        for figure, value in found.items():
            print(f"  {figure:24} {value:10.3f}")  # noqa: T201
    print(json.dumps(rows))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
