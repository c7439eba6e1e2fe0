"""Attacks a real API process, and prints what each attack does to it.

`python -m tests.abuse [--before CHECKOUT] [--only TEXT]`: with another checkout of this repository
the table has a column for it. Aims: `/livez` answers within 250 ms at the 99th percentile on two
cores, and the API stays under 200 MB.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.abuse.api_process import attacked_api, plain_redis
from tests.abuse.attacks import ATTACK_S, CASES, AbuseCase

HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class AbuseResult:
    """What was measured from outside while an attack went on."""

    livez_p99_s: float
    livez_max_s: float
    peak_mb: float
    log_lines: int

    def __str__(self) -> str:
        p99, most = self.livez_p99_s * 1_000, self.livez_max_s * 1_000
        return f"{p99:,.0f} ms ({most:,.0f}) · {self.peak_mb:,.0f} MB · {self.log_lines:,} lines"


async def measure(case: AbuseCase, checkout: Path) -> AbuseResult:
    """Attack a fresh API of a checkout."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            plain_redis(folder) as redis_url,
            attacked_api(folder, checkout, redis_url, max_files=case.max_files) as api,
        ):
            lines_before, api.peak_mb = api.log_lines(), 0.0
            prober = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.abuse.livez_probe",
                api.host,
                str(api.port),
                f"{ATTACK_S:g}",
                cwd=HERE,
                stdout=asyncio.subprocess.PIPE,
            )
            await asyncio.gather(case.attack(api), prober.wait())
            output, _ = await prober.communicate()
            latencies: list[float] = json.loads(output)
            p99 = latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))]
            return AbuseResult(p99, latencies[-1], api.peak_mb, api.log_lines() - lines_before)


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.abuse")
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--only", default="", help="only lines that contain this text")
    options = parser.parse_args()
    checkouts = [one for one in (options.before, HERE) if one is not None]
    print("Each cell: p99 of /livez (the slowest) · peak memory · log lines\n")  # noqa: T201
    print("| row | " + " | ".join(["before", "now"][-len(checkouts) :]) + " |")  # noqa: T201
    print("|---" * (len(checkouts) + 1) + "|")  # noqa: T201
    for case in CASES:
        if options.only in case.name:
            cells = [str(asyncio.run(measure(case, one))) for one in checkouts]
            print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
