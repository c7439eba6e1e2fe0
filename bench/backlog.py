"""What a run costs with 100 to 100,000 jobs behind it in line: python -m bench.backlog.

One worker each time, never more than 200 runs in flight. Everything is enqueued behind a pause,
which then ends; measured are the runs after the first few, with the backlog still in line behind.
About two minutes.
"""

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

from bench import printing
from bench.asking import requests
from bench.measuring import cpu_s
from bench.printing import Aim
from bench.running import Bench, system
from jobs.holds import Hold
from jobs.lanes import Scope
from jobs.moves import MANUAL
from jobs.orders import Order
from jobs.places import Index
from jobs.states import Kind, State
from worker.clock import SystemClock
from worker.intake import Defaults, Intake

BACKLOGS: Final = (100, 1_000, 10_000, 100_000)
FIRST: Final = 500
MEASURED: Final = 2_000
IN_FLIGHT: Final = 200
"""A cap: without it, what is in flight depends on the length of the line."""

ORDER: Final = Order(Kind.MODEL, "gpt-image-2", b'{"sandbox":{"duration_s":0.2}}')
PAUSE: Final = Hold(id="hold-bench", scope=Scope("default"), code=MANUAL, created_at=0.0)
LOOK_S: Final = 0.02
CHUNK: Final = 500
COST_MOST: Final = 1.15


async def measure(backlog: int) -> dict[str, float]:
    """The cost of a run with so many jobs in line behind it."""
    async with system(KNOUDS_LANE_CAPS=f'{{"*": {IN_FLIGHT}}}') as bench:
        await bench.store.gates.put_up(PAUSE)
        intake = Intake(bench.store, SystemClock(), Defaults())
        left = FIRST + MEASURED + IN_FLIGHT + backlog
        while left:
            count = min(CHUNK, left)
            await intake.enqueue_many([(None, ORDER)] * count)
            left -= count
        memory = await _redis_mb(bench)
        await bench.store.gates.change(PAUSE.key, lambda _: None)
        first = await _until_succeeded(bench, FIRST)
        before = await _spent(bench)
        last = await _until_succeeded(bench, first + MEASURED)
        after = await _spent(bench)
        runs = last - first
        cost = {name: (after[name] - before[name]) * 1_000 / runs for name in after}
        queued = (await bench.store.queries.states())[0][State.QUEUED]
        return {
            "runs": runs,
            "queued_at_the_end": queued,
            "cpu_s_per_1000": cost["cpu"],
            "redis_cpu_s_per_1000": cost["redis_cpu"],
            "redis_commands_per_run": cost["commands"] / 1_000,
            "requests_per_run": cost["requests"] / 1_000,
            "redis_mb": memory,
        }


async def _until_succeeded(bench: Bench, count: int) -> int:
    key = bench.store.keys.index(Index.STATE, State.SUCCEEDED)
    while (found := int(await bench.store.client.call("ZCARD", key))) < count:  # noqa: ASYNC110 - Redis does not tell
        await asyncio.sleep(LOOK_S)
    return found


async def _spent(bench: Bench) -> dict[str, float]:
    return {
        "cpu": bench.used().cpu_s,
        "redis_cpu": cpu_s(bench.redis),
        "commands": await bench.commands(),
        "requests": await requests(bench.sandbox),
    }


async def _redis_mb(bench: Bench) -> float:
    memory: dict[str, int] = await bench.store.client.call("INFO", "memory")
    return memory["used_memory"] / 2**20


async def main(backlogs: Sequence[int]) -> None:
    """Measure and print."""
    found = {f"{backlog:,}": await measure(backlog) for backlog in backlogs}
    least, most = (found[f"{backlog:,}"] for backlog in (backlogs[0], backlogs[-1]))
    wanted = [
        Aim(f"{name}, {backlogs[-1]:,} over {backlogs[0]:,}", most[name] / least[name], COST_MOST)
        for name in ("cpu_s_per_1000", "redis_cpu_s_per_1000", "redis_commands_per_run")
    ]
    printing.table(found, "backlog")
    printing.aims(wanted)
    printing.as_json("backlog", {"rows": found}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backlogs", nargs="*", type=int, default=BACKLOGS)
    asyncio.run(main(parser.parse_args().backlogs))
