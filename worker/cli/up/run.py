"""The run of `up`: from nothing to everything, until Ctrl-C, and back."""

import asyncio
import os
import re
import secrets
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import RenderableType

from config.settings import Settings, SettingsError
from worker.cli.exit_codes import Exit, WrongSettings
from worker.cli.output import console, facts, show, text
from worker.cli.up import plan
from worker.cli.up.demo.run import play
from worker.cli.up.demo.setup import Stage
from worker.cli.up.processes import Child, Redis
from worker.cli.up.stack import Stack, look_ready, until_ready

STOP_MARGIN_S: Final = 10.0
"""What a child gets beyond the grace it gives itself."""

_SANDBOX_LINE: Final = re.compile(r"Knouds sandbox on (http://\S+) key ")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asked for."""

    settings: Settings
    demo: bool
    leave: bool


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything is."""

    url: str
    token: str | None
    redis_url: str | None
    sandbox_url: str | None


def run(settings: Settings, *, demo: bool, leave: bool) -> Exit:
    """Run everything until told to stop; returns the exit code."""
    try:
        plan.check(settings)
    except SettingsError as error:
        raise WrongSettings(str(error)) from None
    with plan.sole_user(settings.state_dir):
        return asyncio.run(_until_told(Wish(settings, demo, leave)))


async def _until_told(wish: Wish) -> Exit:
    """Start, serve and stop. The first signal stops in order, the second hurries."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        if stop.is_set():
            hurry.set()
        else:
            _say("stopping; once more to stop at once")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told)
    stack = Stack(_say, hurry)
    serving = asyncio.create_task(_serve(wish, stack))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (serving, stopping):
            task.cancel()
        (outcome, _) = await asyncio.gather(serving, stopping, return_exceptions=True)
        await stack.stop()
    if isinstance(outcome, asyncio.CancelledError):
        return Exit.INTERRUPTED if hurry.is_set() or wish.leave else Exit.OK
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _serve(wish: Wish, stack: Stack) -> Exit:
    port = plan.find_port(wish.settings)
    cast = plan.cast_of(_demos(wish, another=wish.demo))
    running = await _start(wish, stack, port)
    stack.keep()
    _show_places(wish, running)
    as_expected = True
    if wish.demo and running.sandbox_url is None:
        _say("KNOUDS_API_KEY is set, so this is the real API: no demo batch is sent")
    elif wish.demo and running.sandbox_url is not None:
        stage = Stage(running.url, running.token, running.sandbox_url, cast)
        as_expected = await play(stage)
    if wish.leave:
        return Exit.OK if as_expected else Exit.FAILED
    if wish.demo:
        show(text(f"\nIt all goes on: {running.url}/ · Ctrl-C stops it", "bold green"))
    await asyncio.Event().wait()
    return Exit.OK


def _demos(wish: Wish, *, another: bool) -> int:
    if wish.settings.accounts:
        return 0
    return plan.count_demos(wish.settings.state_dir, another=another)


async def _start(wish: Wish, stack: Stack, port: int) -> Running:
    settings = wish.settings
    redis_url = None
    if settings.redis_url is None:
        redis = Redis(settings.state_dir)
        await stack.start(redis)
        redis_url = redis.url
    hook = _Hook.of(settings, port)
    sandbox_url = None if settings.accounts else await _start_sandbox(settings, stack, hook)
    environ = plan.child_environ(
        settings,
        os.environ,
        redis_url=redis_url,
        sandbox_url=sandbox_url,
        demos=_demos(wish, another=False),
        demo=wish.demo,
        port=port,
    )
    if sandbox_url is not None:
        environ["KNOUDS_WEBHOOK_SECRET"] = hook.secret
    url, token = plan.reach(settings, port)
    grace = settings.shutdown_grace_s + STOP_MARGIN_S
    worker = _child(settings, "worker", environ=environ, stop_within_s=grace)
    api = _child(settings, "api", environ=environ, stop_within_s=2 * STOP_MARGIN_S)
    await stack.start(worker)
    await stack.start(api)
    async with aiohttp.ClientSession() as http:
        await until_ready((worker, api), lambda: look_ready(http, url, workers=0))
        await until_ready((api, worker), lambda: look_ready(http, url, workers=1))
    return Running(url, token, redis_url, sandbox_url)


@dataclass(frozen=True, slots=True)
class _Hook:
    """Where the sandbox delivers, and what it signs with."""

    url: str
    secret: str

    @classmethod
    def of(cls, settings: Settings, port: int) -> "_Hook":
        """Our own API, and the secret that was set or one for this run."""
        told = settings.webhook_secrets
        secret = told[0].get_secret_value() if told else f"whsec_{secrets.token_hex(16)}"
        return cls(f"{plan.reach(settings, port)[0]}/webhooks/knouds", secret)


async def _start_sandbox(settings: Settings, stack: Stack, hook: _Hook) -> str:
    """Start the sandbox on a free port, which it keeps when it has to be started again."""
    port = plan.free_port()
    hooked = ("--webhook-url", hook.url, "--webhook-secret", hook.secret)
    words = ("sandbox", "--port", str(port), *hooked)
    sandbox = _child(settings, *words, environ=dict(os.environ), stop_within_s=STOP_MARGIN_S)
    await stack.start(sandbox)

    async def look() -> str | None:
        found = _SANDBOX_LINE.search(sandbox.written())
        return found[1] if found else None

    return await until_ready((sandbox,), look)


def _child(settings: Settings, *words: str, environ: dict[str, str], stop_within_s: float) -> Child:
    log = Path(settings.state_dir) / "logs" / f"{words[0]}.log"
    command = plan.child_command(*words)
    return Child(words[0], command, environ, log, stop_within_s=stop_within_s)


def _say(line: str) -> None:
    console(stderr=True).print(text(f"knouds-worker: {line}", "yellow"))


def _show_places(wish: Wish, running: Running) -> None:
    settings = wish.settings
    redis = running.redis_url or "as KNOUDS_REDIS_URL says"
    sandbox = f"{running.sandbox_url}/ in place of Knouds, since no KNOUDS_API_KEY is set"
    rows: list[tuple[str, RenderableType]] = [
        ("API", text(f"{running.url}/v1 (described in {running.url}/openapi.json)")),
        ("sandbox" if running.sandbox_url else "Knouds", text(sandbox)),
        ("Redis", text(redis)),
        ("state, logs", text(f"{settings.state_dir}, {settings.state_dir / 'logs'}")),
    ]
    if not running.sandbox_url:
        rows[1] = ("Knouds", text(settings.base_url))
    if running.url != settings.cli_url:
        rows.append(("to talk to it", text(f"export KNOUDS_API_URL={running.url}", "bold")))
    show(text("Everything is up; Ctrl-C stops it.", "bold green"), facts(rows))
