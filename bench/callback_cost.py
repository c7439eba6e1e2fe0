"""What callbacks cost a run: without them, with the settings alone, and with one for each job.

`python -m bench.callback_cost [runs]`. The receiver is that of `examples/`, a process of its own.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.run_cost import RunCost, Way, measure
from jobs.requests import JobRequest
from jobs.states import Kind
from worker.cli.up.plan import free_port

RECEIVER: Final = Path(__file__).parents[1] / "examples" / "callbacks" / "receiver.py"
SECRET: Final = "whsec_" + "QUFB" * 11
ROUNDS: Final = (0, 1, 2, 2, 1, 0)
NAMES: Final = ("off", "set", "on")


@asynccontextmanager
async def _receiving(port: int) -> AsyncGenerator[None]:
    environment = {"PATH": os.environ["PATH"], "CALLBACK_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(RECEIVER),
        str(port),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def _round(which: int, runs: int) -> RunCost:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    on = {"KNOUDS_CALLBACK_HOSTS": url, "KNOUDS_CALLBACK_SECRET": SECRET}
    way = Way(NAMES[which], on if which else {})
    callback_url = f"{url}/knouds" if NAMES[which] == "on" else None
    inputs = b'{"prompt":"a cat"}'
    request = JobRequest(Kind.MODEL, "gpt-image-2", inputs, callback_url=callback_url)
    async with _receiving(port):
        return await measure(runs, way, request)


def main() -> None:
    """Print the medians of all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=1_000)
    runs = parser.parse_args().runs
    found: tuple[list[RunCost], ...] = ([], [], [])
    for which in ROUNDS:
        found[which].append(asyncio.run(_round(which, runs)))
    medians = {
        part: [statistics.median(getattr(one, part) for one in rounds) for rounds in found]
        for part in RunCost.__dataclass_fields__
    }
    print(f"{'per run':12}" + "".join(f"{name:>12}" for name in NAMES))  # noqa: T201
    for part, numbers in medians.items():
        print(f"{part:12}" + "".join(f"{number:12.1f}" for number in numbers))  # noqa: T201
    print(json.dumps({"name": "callback_cost", "aims": [], "medians": medians}))  # noqa: T201


if __name__ == "__main__":
    main()
