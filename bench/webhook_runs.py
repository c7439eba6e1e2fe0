"""2,000 async runs whose ends are delivered: python -m bench.webhook_runs [RUNS].

Durations lognormal around 3 s (sigma 0.5, at most 10 s), all enqueued at once; first with every
delivery, then with a fifth of them lost and a fifth doubled: those are found by the polls of the
safety net. Requests are those we send: submits, polls, cancels; deliveries come to us. Five
minutes, most of it waiting for the safety net.
"""

import asyncio
import sys
from typing import Final

from pydantic import SecretStr

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.load import OurWorkers
from bench.measurement import figures, run_workload
from bench.sandbox_admin import admin_post
from bench.workload import burst, sandbox
from worker.compose.api import running

SECRET: Final = "whsec_of_a_benchmark"  # noqa: S105
MEDIAN_S: Final = 3.0
WITHIN_S: Final = 600.0
SHARES: Final = {"every delivery": (0.0, 0.0), "a fifth lost, a fifth doubled": (0.2, 0.2)}
"""What is measured: the shares of deliveries that are lost and doubled."""


async def _hook(bench: BenchSystem, api: str, lost: float, doubled: float) -> None:
    url = f"{api}/webhooks/knouds"
    webhook = {"url": url, "secret": SECRET, "lost": lost, "doubled": doubled}
    await admin_post(bench.sandbox, "webhook", webhook)


async def _run(runs: int, lost: float, doubled: float) -> dict[str, float]:
    async with bench_system(sandbox=sandbox(MEDIAN_S), KNOUDS_WEBHOOK_SECRET=SECRET) as bench:
        settings = bench.settings.model_copy(
            update={"http_port": 0, "webhook_secret": SecretStr(SECRET)}
        )
        async with running(settings, bench.store) as api:
            await _hook(bench, api, lost, doubled)
            ours = OurWorkers(bench)
            played = await run_workload(ours, burst(runs), WITHIN_S)
            return figures(played, await ours.end_times(), ())


async def main(runs: int) -> None:
    """Measure and print."""
    rows = {name: await _run(runs, *shares) for name, shares in SHARES.items()}
    results.table(rows, f"{runs:,} runs")
    results.as_json("webhooks", {"runs": runs, "rows": rows})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
