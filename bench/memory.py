"""The Redis memory of a finished job: python -m bench.memory [JOBS].

Measures what JOBS more jobs add: record and index entries. Their inputs and results are subtracted,
and so is the stream of events, which does not grow with the number of jobs: it is shown separately.
"""

import argparse
import asyncio
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.results import Aim
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock
from worker.store.read.filter import Filter

WARM_UP: Final = 1_000
"""Jobs before: one-time costs are paid by then."""

JOBS: Final = 2_000
QUIET_S: Final = 3.0
POLL_S: Final = 0.1
REQUEST: Final = JobRequest(Kind.MODEL, "gpt-image-2", b'{"sandbox":{"duration_s":0.2}}')


async def finish(bench: BenchSystem, jobs: int) -> None:
    """Enqueue jobs and wait until all that there are have succeeded."""
    enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
    for first in range(0, jobs, 500):
        await enqueuer.enqueue_many([(None, REQUEST)] * min(500, jobs - first))
    while True:
        states, _ = await bench.store.read.queries.state_counts()
        if states[State.SUCCEEDED] == sum(states.values()):
            break
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(QUIET_S)


async def used(bench: BenchSystem) -> int:
    """Bytes that Redis has allocated for its data; buffers of connections aside."""
    memory: dict[str, int] = await bench.store.client.call("INFO", "memory")
    return memory["used_memory"] - memory["mem_clients_normal"] - memory["mem_aof_buffer"]


async def stream(bench: BenchSystem) -> int:
    """Bytes of the stream of events."""
    key = bench.store.keys.events
    return int(await bench.store.client.call("MEMORY", "USAGE", key, "SAMPLES", 0) or 0)


async def payload(bench: BenchSystem) -> int:
    """Bytes of one job's inputs and result."""
    (job,) = (await bench.store.read.queries.page(Filter(state=State.SUCCEEDED), 1)).jobs
    key = bench.store.keys.job(job.id)
    fields: list[bytes] = await bench.store.client.call("HMGET", key, "inputs", "result")
    return sum(len(field) for field in fields)


async def main(jobs: int) -> None:
    """Measure and print."""
    async with bench_system() as bench:
        await finish(bench, WARM_UP)
        before, events = await used(bench), await stream(bench)
        await finish(bench, jobs)
        added, theirs = (await used(bench) - before) / jobs, await payload(bench)
        events_added = (await stream(bench) - events) / jobs
    row = {
        "added_bytes": added,
        "events_bytes": events_added,
        "inputs_and_result_bytes": theirs,
        "ours_bytes": added - events_added - theirs,
    }
    wanted = [Aim("Redis bytes a finished job, payload aside", row["ours_bytes"], 1_536)]
    results.table({"a job": row}, "memory")
    results.aims(wanted)
    results.as_json("memory", {"jobs": jobs, "rows": row}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="?", type=int, default=JOBS)
    asyncio.run(main(parser.parse_args().jobs))
