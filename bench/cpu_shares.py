"""Where the CPU of a run goes, by part: python -m bench.cpu_shares [IN_FLIGHT] [--polls 3].

One worker, evenly arriving runs of about 3 s, as in `bench.load`, whose durations it has learned.
Shares are of the worker's CPU time, so other programs on the machine change them little.
"""

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from bench import results
from bench.bench_system import bench_system
from bench.load import USUAL, OurWorkers
from bench.measurement import run_workload
from bench.workload import sandbox, steady

MEDIAN_S: Final = 3.0
FILES_SHOWN: Final = 5
"""Files of a part that are named, those with the largest share."""


async def measure(
    in_flight: int, polls: float
) -> tuple[Counter[tuple[str, str]], dict[str, float]]:
    """Samples by part and file, and what a run took."""
    workload = steady(in_flight, median_s=MEDIAN_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with bench_system(
            sandbox=sandbox(MEDIAN_S), profile=folder, KNOUDS_POLLS_PER_RUN=f"{polls:.3f}"
        ) as bench:
            ours = OurWorkers(bench)
            await ours.warm_up(MEDIAN_S)
            used = (await run_workload(ours, workload)).used
        samples = _read(folder)
    return samples, {
        "cpu_s_per_1000": 1_000 * used.cpu_s / workload.runs,
        "requests_per_run": used.requests / workload.runs,
        "redis_commands_per_run": used.commands / workload.runs,
    }


def _read(folder: Path) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for file in folder.glob("*.json"):
        found.update({(part, name): n for part, name, n in json.loads(file.read_text())})
    return found


def shares(samples: Counter[tuple[str, str]]) -> dict[str, dict[str, float]]:
    """The share of each part, the largest first, and those of its files."""
    total = sum(samples.values())
    found: dict[str, dict[str, float]] = {}
    for (part, file), count in samples.most_common():
        found.setdefault(part, {})[file] = count / total
    return dict(sorted(found.items(), key=lambda row: -sum(row[1].values())))


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("in_flight", nargs="?", type=int, default=1_000)
    parser.add_argument("--polls", type=float, default=USUAL.polls_per_run)
    asked = parser.parse_args()
    samples, used = await measure(asked.in_flight, asked.polls)
    found = shares(samples)
    for part, files in found.items():
        largest = ", ".join(
            f"{file} {share:.1%}" for file, share in list(files.items())[:FILES_SHOWN] if file
        )
        print(f"{sum(files.values()):6.1%}  {part:40} {largest}")  # noqa: T201
    results.as_json("cpu_shares", {"samples": samples.total(), "a_run": used, "shares": found})


if __name__ == "__main__":
    asyncio.run(main())
