"""Our worker with a sampler of its CPU beside it: python -m bench.profiled_worker FOLDER.

A signal comes every few milliseconds of CPU time, however busy the machine is. The stack is counted
for the part that its innermost frame of a known part belongs to: what a part calls in the standard
library, in extensions and in the kernel is its own. Python handles a signal at the next call of a
function in Python, so single functions are less certain than parts.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

from arq.worker import Worker

from bench.sampled_worker import StartStopHook
from config.environment import load
from config.settings import Settings
from worker import main

_arq_settings = main.arq_settings

INTERVAL_S: Final = 0.001
"""Of CPU; the kernel rounds it up to its tick, which is 4 ms on many machines."""

EVENT_LOOP: Final = "event loop, and the rest"

PARTS: Final = (
    ("aiohttp's client", ("/aiohttp/", "/yarl/", "/multidict/", "/aiosignal/", "/propcache/")),
    ("Redis client", ("/redis/",)),
    ("arq", ("/arq/",)),
    ("logging", ("/structlog/", "/config/logging")),
    ("our transport (provider/http)", ("/worker/provider/http/",)),
    ("reading answers (provider/knouds)", ("/worker/provider/",)),
    ("metrics", ("/worker/store/metrics/",)),
    ("records and commits (store)", ("/worker/store/",)),
    ("decisions and transitions (jobs)", ("/jobs/",)),
    ("poller and poll planner", ("/services/poller.py", "/services/poll_planner.py")),
    ("admission", ("/services/admission.py",)),
    ("submitter, completion, other services", ("/worker/",)),
)
"""Parts by what the path of a file has in it; the first that fits counts."""

_part_of_file: dict[str, str | None] = {}


def part_of(file: str) -> str | None:
    """The part that a file belongs to; None for one of none."""
    if file not in _part_of_file:
        fitting = (name for name, folders in PARTS if any(f in file for f in folders))
        _part_of_file[file] = next(fitting, None)
    return _part_of_file[file]


class CpuSampler:
    """Counts samples by part and file, between its start and its stop."""

    def __init__(self) -> None:
        self.samples: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Start to sample this process."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        """Stop."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            file = frame.f_code.co_filename
            if frame.f_code is Worker.run.__code__:  # arq runs the loop
                break
            if (part := part_of(file)) is not None:
                self.samples[part, Path(file).name] += 1
                return
            frame = frame.f_back
        self.samples[EVENT_LOOP, ""] += 1


def with_sampler(settings: Settings, folder: Path) -> dict[str, Any]:
    """The worker's own settings for arq, with the sampler around its start and stop."""
    wanted, sampler = _arq_settings(settings), CpuSampler()
    begin: StartStopHook = wanted["on_startup"]
    finish: StartStopHook = wanted["on_shutdown"]

    async def on_startup(ctx: dict[str, Any]) -> None:
        await begin(ctx)
        sampler.start()

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        sampler.stop()
        rows = [[part, file, count] for (part, file), count in sampler.samples.items()]
        (folder / f"{os.getpid()}.json").write_text(json.dumps(rows))
        await finish(ctx)

    return wanted | {"on_startup": on_startup, "on_shutdown": on_shutdown}


if __name__ == "__main__":
    into = Path(sys.argv[1])
    main.arq_settings = lambda settings: with_sampler(settings, into)
    sys.exit(main.run(load(env_file=None)))
