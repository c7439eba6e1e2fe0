"""What a run costs with 100 to 100,000 jobs queued behind it: python -m bench.backlog.

A system of one worker for each length of line, never more than 200 runs in flight. They stand side
by side and take short turns, for the speed of a machine wanders within seconds by more than what is
to be found: behind a pause the line is filled up, the pause ends, the first few runs do not count,
the next do, then the pause is back. A figure is what all turns took over all their runs. About two
minutes.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.measurement import cpu_s
from bench.results import Aim
from bench.sandbox_admin import requests
from jobs.holds import Hold
from jobs.indexes import Index
from jobs.job import MANUAL
from jobs.lanes import Scope
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

BACKLOGS: Final = (100, 1_000, 10_000, 100_000)
TURNS: Final = 10
WARM_UP: Final = 200
MEASURED: Final = 500
IN_FLIGHT: Final = 200
"""A cap: without it, what is in flight depends on the length of the line."""

REQUEST: Final = JobRequest(Kind.MODEL, "gpt-image-2", b'{"sandbox":{"duration_s":0.2}}')
PAUSE: Final = Hold(id="hold-bench", scope=Scope("default"), code=MANUAL, created_at=0.0)
POLL_S: Final = 0.02
CHUNK: Final = 500
COST_MOST: Final = 1.15


@dataclass(frozen=True, slots=True)
class PausedBacklog:
    """A system with a line of jobs behind a pause."""

    bench: BenchSystem
    enqueuer: Enqueuer
    length: int

    async def fill(self) -> None:
        """Place the pause, wait until no run is in flight, and refill the lane."""
        await self.bench.store.holds.place(PAUSE)
        while await self._count(State.SUBMITTING, State.RUNNING):  # noqa: ASYNC110 - Redis does not tell
            await asyncio.sleep(POLL_S)
        left = WARM_UP + MEASURED + IN_FLIGHT + self.length - await self._count(State.QUEUED)
        while left > 0:
            await self.enqueuer.enqueue_many([(None, REQUEST)] * min(CHUNK, left))
            left -= CHUNK

    async def turn(self) -> Counter[str]:
        """End the pause; what `MEASURED` runs took after the first."""
        await self.fill()
        done = await self._count(State.SUCCEEDED)
        await self.bench.store.holds.change(PAUSE.key, lambda _: None)
        first = await self._until_succeeded(done + WARM_UP)
        before = await self._spent()
        last = await self._until_succeeded(first + MEASURED)
        spent = await self._spent()
        spent.subtract(before)
        return spent + Counter(runs=last - first)

    async def _until_succeeded(self, count: int) -> int:
        while (found := await self._count(State.SUCCEEDED)) < count:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        return found

    async def _count(self, *states: State) -> int:
        keys = [self.bench.store.keys.index(Index.STATE, state) for state in states]
        return sum(await self.bench.store.client.many([("ZCARD", key) for key in keys]))

    async def _spent(self) -> Counter[str]:
        """Counts, and microseconds."""
        return Counter(
            cpu=round(self.bench.used().cpu_s * 1e6),
            redis_cpu=round(cpu_s(self.bench.redis) * 1e6),
            commands=await self.bench.commands(),
            requests=await requests(self.bench.sandbox),
        )

    async def redis_mb(self) -> float:
        """What Redis holds in memory, in megabytes."""
        memory: dict[str, int] = await self.bench.store.client.call("INFO", "memory")
        return memory["used_memory"] / 2**20


@asynccontextmanager
async def _backlog(length: int) -> AsyncGenerator[PausedBacklog]:
    async with bench_system(KNOUDS_LANE_CAPS=f'{{"*": {IN_FLIGHT}}}') as bench:
        line = PausedBacklog(bench, Enqueuer(bench.store, SystemClock(), JobDefaults()), length)
        await line.fill()
        yield line


async def measure(backlogs: Sequence[int]) -> dict[str, dict[str, float]]:
    """The cost of a run, by the number of jobs queued behind it."""
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(_backlog(length)) for length in backlogs]
        totals = {line.length: Counter[str]() for line in lines}
        for turn in range(TURNS + 1):
            for line in lines if turn % 2 else reversed(lines):
                spent = await line.turn()
                if turn:  # the first warms up
                    totals[line.length] += spent
        return {
            f"{line.length:,}": _row(totals[line.length], await line.redis_mb()) for line in lines
        }


def _row(total: Counter[str], redis_mb: float) -> dict[str, float]:
    runs = total["runs"]
    return {
        "runs": runs,
        "cpu_s_per_1000": total["cpu"] / runs / 1_000,
        "redis_cpu_s_per_1000": total["redis_cpu"] / runs / 1_000,
        "redis_commands_per_run": total["commands"] / runs,
        "requests_per_run": total["requests"] / runs,
        "redis_mb": redis_mb,
    }


async def main(backlogs: Sequence[int]) -> None:
    """Measure and print."""
    found = await measure(backlogs)
    least, most = (found[f"{backlog:,}"] for backlog in (backlogs[0], backlogs[-1]))
    wanted = [
        Aim(f"{name}, {backlogs[-1]:,} over {backlogs[0]:,}", most[name] / least[name], COST_MOST)
        for name in ("cpu_s_per_1000", "redis_cpu_s_per_1000", "redis_commands_per_run")
    ]
    results.table(found, "backlog")
    results.aims(wanted)
    results.as_json("backlog", {"rows": found}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backlogs", nargs="*", type=int, default=BACKLOGS)
    asyncio.run(main(parser.parse_args().backlogs))
