"""`python -m worker.sandbox`: serve the sandbox until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from worker.sandbox.config import DEFAULT_KEY, SandboxConfig
from worker.sandbox.http.app import running

WEBHOOK_SECRET: Final = "SANDBOX_WEBHOOK_SECRET"  # noqa: S105  the name of a variable
"""Signs the webhooks, 16 to 256 characters. Every user of the machine sees command lines."""


def _limit(text: str) -> int:
    return 0 if text == "none" else int(text)


def _parser() -> argparse.ArgumentParser:
    defaults = SandboxConfig()
    parser = argparse.ArgumentParser(
        prog="python -m worker.sandbox",
        description=__doc__,
        epilog=f"{WEBHOOK_SECRET} in the environment signs the webhooks.",
    )
    add = parser.add_argument
    add("--host", default=defaults.host)
    add("--port", type=int, default=8090, help="0 picks a free one")
    add("--seed", type=int, default=defaults.seed, help="seed of durations and shares")
    add("--limit", type=_limit, help="runs per user, route and window; none or 0: unlimited")
    add("--poll-limit", type=_limit, help="the same for polls and cancels (default: unlimited)")
    add("--window-s", type=float, default=defaults.window_s, help="length of a window")
    add("--speed", type=float, default=defaults.speed, help="10 makes runs ten times shorter")
    add("--median-s", type=float, help="median duration of every target")
    add("--sigma", type=float, help="spread of every target's lognormal duration")
    add("--cap-s", type=float, help="longest duration of every target")
    add("--cancel-s", type=float, default=defaults.cancel_s, help="how long a cancel takes")
    add("--credits", type=int, help="first balance of the default key's user")
    add("--webhook-url", help="where the default key's webhooks go")
    add("--webhook-attempts", type=int, default=defaults.webhook_attempts)
    add("--webhook-retry-s", type=float, default=defaults.webhook_retry_s)
    return parser


async def _serve(config: SandboxConfig) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    async with running(config) as url:
        print(f"Knouds sandbox on {url} key {DEFAULT_KEY}", flush=True)  # noqa: T201
        await stopped.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code."""
    parser = _parser()
    options = vars(parser.parse_args(argv))
    if secret := os.environ.get(WEBHOOK_SECRET):
        options["webhook_secret"] = secret
    try:
        config = SandboxConfig(**options)
    except ValueError as error:
        parser.error(str(error))
    try:
        asyncio.run(_serve(config))
    except OSError as error:
        print(f"cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
