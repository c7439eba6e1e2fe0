"""2,000 async runs whose ends are delivered, one worker, one API: python -m bench.webhooks [RUNS].

Durations lognormal around 3 s (sigma 0.5, at most 10 s), all enqueued at once, every tenth webhook
doubled. Requests are those we send: submits, polls, cancels; deliveries come to us.
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
DOUBLED: Final = 0.1


async def _hook(bench: Bench, api: str) -> None:
    told = {"url": f"{api}/webhooks/knouds", "secret": SECRET, "doubled": DOUBLED}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(f"{bench.sandbox}/_sandbox/webhook", json=told),
    ):
        pass


async def main(runs: int) -> None:
    """Measure and print."""
    async with system(sandbox=SANDBOX, KNOUDS_WEBHOOK_SECRET=SECRET) as bench:
        settings = bench.settings.model_copy(
            update={"http_port": 0, "webhook_secret": SecretStr(SECRET)}
        )
        async with running(settings, bench.store) as api:
            await _hook(bench, api)
            found = await measure(bench, runs)
    for name, value in found.items():
        print(f"{name:24} {value:10.3f}")  # noqa: T201
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
