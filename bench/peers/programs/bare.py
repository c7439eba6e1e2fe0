"""The floor: a task for each run on a bare loop, and nothing durable.

There is no queue: a line on standard input, `<runs> <runs a second>`, makes the runs arrive.
"""

import asyncio
import signal
import sys

from bench.peers.programs.common import INPUTS, TARGET, run_to_its_end, shutdown, startup
from bench.workload import arrivals


async def main() -> None:
    """Make the requested runs until SIGTERM."""
    stopped, running = asyncio.Event(), set[asyncio.Task[object]]()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)

    async def make(runs: int, rate: float) -> None:
        async for count in arrivals(runs, rate):
            for _ in range(count):
                task = asyncio.create_task(run_to_its_end(TARGET, dict(INPUTS)))
                running.add(task)
                task.add_done_callback(running.discard)

    def read_line() -> None:
        runs, rate = sys.stdin.readline().split()
        task = asyncio.create_task(make(int(runs), float(rate)))
        running.add(task)
        task.add_done_callback(running.discard)

    await startup()
    loop.add_reader(sys.stdin.fileno(), read_line)
    await stopped.wait()
    await shutdown()


if __name__ == "__main__":
    asyncio.run(main())
