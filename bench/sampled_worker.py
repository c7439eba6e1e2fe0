"""Our worker as it is, with a sampler of stalls beside it: python -m bench.sampled_worker FOLDER.

Nothing of the worker is changed: the sampler starts and ends with it and leaves `<pid>.json`.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.stalls import StallSampler
from config.environment import load
from config.settings import Settings
from worker import main

_arq_settings = main.arq_settings

StartStopHook = Callable[[dict[str, Any]], Awaitable[None]]


def with_sampler(settings: Settings, folder: Path) -> dict[str, Any]:
    """The worker's own settings for arq, with the sampler around its start and stop."""
    wanted, stalls = _arq_settings(settings), StallSampler()
    begin: StartStopHook = wanted["on_startup"]
    finish: StartStopHook = wanted["on_shutdown"]

    async def on_startup(ctx: dict[str, Any]) -> None:
        stalls.start()
        await begin(ctx)

    async def on_shutdown(ctx: dict[str, Any]) -> None:
        await finish(ctx)
        await stalls.stop()
        left = json.dumps({"stalls": stalls.samples()})
        (folder / f"{os.getpid()}.json").write_text(left)

    return wanted | {"on_startup": on_startup, "on_shutdown": on_shutdown}


if __name__ == "__main__":
    into = Path(sys.argv[1])
    main.arq_settings = lambda settings: with_sampler(settings, into)
    sys.exit(main.run(load(env_file=None)))
