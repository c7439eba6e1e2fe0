"""10,000 runs in flight in one worker, beside 2,000: python -m bench.depth [IN_FLIGHT].

Runs take longer here (20 s at the median), since no sandbox on two cores answers the submits that
10,000 runs of 3 s would take. All are enqueued at once. About eight minutes, most of it waiting for
durations to be known.
"""

import argparse
import asyncio
from typing import Final

from bench import results
from bench.load import measure
from bench.results import Aim
from bench.workload import burst

BESIDE: Final = 5
MEDIAN_S: Final = 20.0


async def main(in_flight: int) -> None:
    """Measure and print."""
    few = (await measure([burst(in_flight // BESIDE, MEDIAN_S)]))["burst"]
    many = (await measure([burst(in_flight, MEDIAN_S)]))["burst"]
    wanted = [
        Aim("p99 delay, many over few", many["delay_p99_s"] / few["delay_p99_s"], 1.5),
        Aim("RSS, MB", many["rss_mb"], 120),
        Aim("loop stalls p99, ms", many["stall_p99_ms"], 30),
    ]
    results.table({f"{in_flight // BESIDE:,}": few, f"{in_flight:,}": many}, "in flight")
    results.aims(wanted)
    results.as_json("depth", {"in_flight": in_flight, "few": few, "many": many}, wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("in_flight", nargs="?", type=int, default=10_000)
    asyncio.run(main(parser.parse_args().in_flight))
