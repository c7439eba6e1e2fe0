"""The run of `up`: start everything, serve until Ctrl-C, stop everything."""

import asyncio
import os
import re
import secrets
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from redis.exceptions import RedisError
from rich.console import RenderableType

from config.settings import Settings, SettingsError
from jobs.outcomes import CallFailure
from worker.cli.exit_codes import CommandFailure, ExitCode, InvalidSettings
from worker.cli.output import console, key_value_table, show, text
from worker.cli.up import plan
from worker.cli.up.demo.run import run_demo
from worker.cli.up.demo.setup import DemoSetup
from worker.cli.up.processes import ChildProcess, RedisProcess
from worker.cli.up.stack import ProcessStack, probe_ready, wait_until_ready
from worker.compose.app import payload_cipher
from worker.compose.provider import build_provider
from worker.doctor.access import judge_base_url
from worker.doctor.startup import UnusableRedis, require_usable
from worker.redis.connect import connect
from worker.redis.connection_pool import ONLY_REPLICAS
from worker.redis.connection_problems import connection_problem
from worker.redis.embedded import URL_FILE
from worker.sandbox.__main__ import WEBHOOK_SECRET
from worker.store import open_store

STOP_MARGIN_S: Final = 10.0
"""Time for a child to stop, beyond its own shutdown grace."""

_SANDBOX_LINE: Final = re.compile(r"Knouds sandbox on (http://\S+) key ")


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of the command."""

    settings: Settings
    demo: bool
    exit_after_demo: bool


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """The addresses of what runs."""

    api_url: str
    token: str | None
    is_redis_embedded: bool
    sandbox_url: str | None


def run(settings: Settings, *, demo: bool, exit_after_demo: bool) -> ExitCode:
    """Run everything until a signal, or the end of the demo; returns the exit code."""
    try:
        plan.check_settings(settings)
    except SettingsError as error:
        raise InvalidSettings(str(error)) from None
    with plan.lock_state_dir(settings.state_dir):
        return asyncio.run(_run_until_stopped(UpOptions(settings, demo, exit_after_demo)))


async def _run_until_stopped(options: UpOptions) -> ExitCode:
    """Start, serve and stop. The first signal stops in order, the second at once."""
    stop, force_stop = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            force_stop.set()
        else:
            _print_notice("stopping; press Ctrl-C again to stop at once")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    stack = ProcessStack(_print_notice, force_stop)
    serving = asyncio.create_task(_serve(options, stack))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (serving, stopping):
            task.cancel()
        (outcome, _) = await asyncio.gather(serving, stopping, return_exceptions=True)
        await stack.stop()
    if isinstance(outcome, asyncio.CancelledError):
        is_cut_short = force_stop.is_set() or options.exit_after_demo
        return ExitCode.INTERRUPTED if is_cut_short else ExitCode.OK
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _serve(options: UpOptions, stack: ProcessStack) -> ExitCode:
    port = plan.find_api_port(options.settings)
    demo_count = plan.count_demos(options.settings, is_demo=options.demo)
    addresses = await _start_all(options, stack, port, demo_count)
    stack.keep_all_alive()
    _show_addresses(options, addresses)
    if addresses.sandbox_url is None:
        await _warn_of_base_url(options.settings)
    as_expected = True
    if options.demo and addresses.sandbox_url is None:
        _print_notice("KNOUDS_API_KEY is set, so this is the real API: no demo batch is sent")
    elif options.demo and addresses.sandbox_url is not None:
        accounts = plan.demo_accounts(demo_count)
        as_expected = await run_demo(
            DemoSetup(addresses.api_url, addresses.token, addresses.sandbox_url, accounts)
        )
    if options.exit_after_demo:
        return ExitCode.OK if as_expected else ExitCode.FAILED
    if options.demo:
        show(text(f"\nStill running: {addresses.api_url}/ · Ctrl-C stops it", "bold green"))
    await asyncio.Event().wait()
    return ExitCode.OK


async def _start_all(
    options: UpOptions, stack: ProcessStack, port: int, demo_count: int
) -> StackAddresses:
    settings = options.settings
    redis_url = None
    if settings.redis_url is None:
        redis = RedisProcess(settings.state_dir)
        await stack.start(redis)
        redis_url = redis.url
    else:
        await refuse_unusable_redis(settings)
    url, token = plan.api_access(settings, port)
    given = settings.webhook_secrets
    secret = given[0].get_secret_value() if given else f"whsec_{secrets.token_hex(16)}"
    sandbox_url = None
    if not settings.accounts:
        sandbox_url = await _start_sandbox(settings, stack, f"{url}/webhooks/knouds", secret)
    environ = plan.child_environ(
        settings,
        os.environ,
        redis_url=redis_url,
        sandbox_url=sandbox_url,
        demo_count=demo_count,
        is_demo=options.demo,
        port=port,
    )
    if sandbox_url is not None:
        environ["KNOUDS_WEBHOOK_SECRET"] = secret
    grace = settings.shutdown_grace_s + STOP_MARGIN_S
    worker = _child(settings, "worker", environ=environ, stop_timeout_s=grace)
    api = _child(settings, "api", environ=environ, stop_timeout_s=2 * STOP_MARGIN_S)
    await stack.start(worker)
    await stack.start(api)
    async with aiohttp.ClientSession() as http:
        await wait_until_ready((worker, api), lambda: probe_ready(http, url, min_workers=0))
        await wait_until_ready((api, worker), lambda: probe_ready(http, url, min_workers=1))
    return StackAddresses(url, token, redis_url is not None, sandbox_url)


async def refuse_unusable_redis(settings: Settings) -> None:
    """Raise CommandFailure where the configured Redis cannot be used: workers would wait for it."""
    redis = connect(settings, fail_fast=True)
    try:
        store = open_store(redis, settings.namespace, cipher=payload_cipher(settings))
        for problem in await require_usable(store):
            if problem.code in ONLY_REPLICAS:
                raise CommandFailure(f"{problem.reason}: {problem.fix}")
    except UnusableRedis as error:
        raise CommandFailure(str(error)) from None
    except (RedisError, OSError) as error:
        found = await connection_problem(error, settings.plain_redis_url)
        raise CommandFailure(found.line) from None
    finally:
        await redis.aclose()


async def _warn_of_base_url(settings: Settings) -> None:
    """Print one line if what answers at the base URL is not the API of Knouds."""
    provider = build_provider(settings)
    try:
        identity = await provider.whoami(next(iter(settings.accounts)))
    finally:
        await provider.close()
    if isinstance(identity, CallFailure):
        wrong = judge_base_url("provider", identity)
        if wrong is not None:
            _print_notice(f"{wrong.text}: {wrong.fix}")


async def _start_sandbox(
    settings: Settings, stack: ProcessStack, webhook_url: str, webhook_secret: str
) -> str:
    """Start the sandbox on a free port, which it keeps when it is restarted; returns its URL."""
    port = plan.free_port()
    words = ("sandbox", "--port", str(port), "--webhook-url", webhook_url)
    environ = {**os.environ, WEBHOOK_SECRET: webhook_secret}
    sandbox = _child(settings, *words, environ=environ, stop_timeout_s=STOP_MARGIN_S)
    await stack.start(sandbox)

    async def find_url() -> str | None:
        match = _SANDBOX_LINE.search(sandbox.recent_log())
        return match[1] if match else None

    return await wait_until_ready((sandbox,), find_url)


def _child(
    settings: Settings, *words: str, environ: dict[str, str], stop_timeout_s: float
) -> ChildProcess:
    log = Path(settings.state_dir) / "logs" / f"{words[0]}.log"
    command = plan.child_command(*words)
    return ChildProcess(words[0], command, environ, log, stop_timeout_s=stop_timeout_s)


def _print_notice(line: str) -> None:
    console(stderr=True).print(text(f"knouds-worker: {line}", "yellow"))


def _show_addresses(options: UpOptions, addresses: StackAddresses) -> None:
    settings = options.settings
    own = f"its URL with the password is in {settings.state_dir / URL_FILE}"
    redis = own if addresses.is_redis_embedded else "from KNOUDS_REDIS_URL"
    sandbox = f"{addresses.sandbox_url}/ in place of Knouds, since no KNOUDS_API_KEY is set"
    rows: list[tuple[str, RenderableType]] = [
        ("API", text(f"{addresses.api_url}/v1 (described in {addresses.api_url}/openapi.json)")),
        ("sandbox" if addresses.sandbox_url else "Knouds", text(sandbox)),
        ("Redis", text(redis)),
        ("state, logs", text(f"{settings.state_dir}, {settings.state_dir / 'logs'}")),
    ]
    if not addresses.sandbox_url:
        rows[1] = ("Knouds", text(settings.base_url))
    if addresses.api_url != settings.cli_url:
        rows.append(("for commands", text(f"export KNOUDS_API_URL={addresses.api_url}", "bold")))
    show(text("Everything is up; Ctrl-C stops it.", "bold green"), key_value_table(rows))
