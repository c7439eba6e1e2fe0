"""This worker and its peers under the same workload: python -m bench.peers [--runs 2000].

One worker process, one Redis that writes every change to disk, one sandbox, runs of about 3 s.
"Burst" is all runs at once, "steady" keeps as many in flight for 12 s. Where that would be more
submits a second than the sandbox can answer, there is a burst only. About six minutes.

Ours learns from 300 runs before, which are not counted, and is measured three times: as it is set
by default, with as many requests a run as polling every second takes, and with 0.8 times as many.
"""

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

from bench import load, results
from bench.peers import peer_worker
from bench.peers.environments import pins
from bench.peers.peer_list import BARE, NAIVE, PEERS, TASKIQ
from bench.results import Aim
from bench.workload import Workload, shapes

Results = dict[str, dict[str, dict[str, float]]]
"""Figures by contestant and shape."""

FEWER: Final = 0.8
POLLS_LEAST: Final = 1.5
POLL_MIN_S: Final = 0.1
"""The shortest poll interval of ours where its polls are set: too short to limit them."""

OURS: Final = "ours"
AS_MANY: Final = "ours, as many"
FEWER_OURS: Final = f"ours, x {FEWER}"


async def measure(runs: int, only: Sequence[str]) -> Results:
    """The figures of each worker; `only` names some, empty for all."""
    workloads = shapes(runs)
    found: Results = {}
    for peer in PEERS:
        if not only or peer.name in only:
            found[peer.name] = await peer_worker.measure(peer, workloads)
            _say(peer.name)
    found[OURS] = await load.measure(workloads)
    _say(OURS)
    if BARE.name in found:
        await _tuned(found, workloads[-1])
    return found


async def _tuned(found: Results, workload: Workload) -> None:
    """Ours with as many requests as polling every second takes, and with fewer.

    The worker polls a little less often than configured, since polls are late under load. The
    requests of the first measurement correct the setting of the second.
    """
    each_second = found[BARE.name][workload.name]["requests_per_run"]
    taken = 1.0
    for name, share in ((AS_MANY, 1.0), (FEWER_OURS, FEWER)):
        polls = share * each_second - 1  # one request is the submit
        polls_per_run = max(POLLS_LEAST, polls / taken)
        found[name] = await load.measure([workload], polls_per_run, POLL_MIN_S)
        taken = (found[name][workload.name]["requests_per_run"] - 1) / polls
        _say(name)


def aims(found: Results) -> list[Aim]:
    """What ours ought to be beside the peers, where those were measured."""
    wanted: list[Aim] = []
    for shape, ours in found[OURS].items():
        cpu = ours["cpu_s_per_1000"]
        limits = ((TASKIQ, 1.0), (NAIVE, 0.6), (BARE, 2.0))
        wanted += [
            Aim(f"{shape}: CPU / {peer.name}", cpu / theirs[shape]["cpu_s_per_1000"], most)
            for peer, most in limits
            if (theirs := found.get(peer.name))
        ]
        wanted.append(Aim(f"{shape}: Redis commands a run", ours["redis_commands_per_run"], 34))
        wanted.append(Aim(f"{shape}: RSS, MB", ours["rss_mb"], 120))
        wanted.append(Aim(f"{shape}: loop stalls p99, ms", ours["stall_p99_ms"], 30))
    if AS_MANY in found:
        wanted += _polling_aims(found)
    return wanted


def _polling_aims(found: Results) -> list[Aim]:
    """With 0.8 times the requests no more delay: so at its delay at most 0.8 times the requests."""
    (shape,) = found[AS_MANY]
    each_second = found[BARE.name][shape]
    as_many, fewer = found[AS_MANY][shape], found[FEWER_OURS][shape]
    requests = each_second["requests_per_run"]
    delay = each_second["delay_mean_s"]
    return [
        Aim(
            "as many requests: requests / 1 s polling's",
            as_many["requests_per_run"] / requests,
            1.02,
        ),
        Aim("as many requests: mean delay / 1 s polling's", as_many["delay_mean_s"] / delay, 0.75),
        Aim("fewer requests: requests / 1 s polling's", fewer["requests_per_run"] / requests, 0.82),
        Aim("fewer requests: mean delay / 1 s polling's", fewer["delay_mean_s"] / delay, 1.0),
    ]


def _say(name: str) -> None:
    print(f"{name}: measured", flush=True)  # noqa: T201


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--only", action="append", default=[], help="a peer's name; repeatable")
    asked = parser.parse_args()
    found = await measure(asked.runs, asked.only)
    for shape in found[OURS]:
        columns = {name: shapes[shape] for name, shapes in found.items() if shape in shapes}
        results.table(columns, f"{shape}, {asked.runs:,} runs")
    wanted = aims(found)
    results.aims(wanted)
    about = {
        peer.name: {"keeps": peer.durability, "versions": pins(peer.requirements)} for peer in PEERS
    }
    results.as_json("peers", {"runs": asked.runs, "contestants": found, "about": about}, wanted)


if __name__ == "__main__":
    asyncio.run(main())
