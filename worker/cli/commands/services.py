"""`worker`, `api` and `sandbox`: the services, each in the foreground until SIGTERM or Ctrl-C."""

import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import click

from worker.cli.client_session import read_settings
from worker.cli.exit_codes import (
    CommandExit,
    CommandFailure,
    ExitCode,
    InvalidSettings,
    RedisUnreachable,
)

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.store import Store

with_parent = click.option("--with-parent", is_flag=True, hidden=True)


@click.command(short_help="Run a worker.")
@with_parent
@click.option("--check", is_flag=True, help="Run none: say whether one of this host is alive.")
def worker(*, with_parent: bool, check: bool) -> None:
    """Run a worker: it submits, polls, rescues and prunes jobs. Any number may run.

    --check is for health checks of containers: its exit code is 1 where Redis has no heartbeat of a
    worker of this host from the last lease and a half.
    """
    settings = read_settings()
    if check:
        _check_worker(settings)
        return
    _stop_with_parent(enabled=with_parent)

    from config.settings import SettingsError  # noqa: PLC0415  not for --help
    from worker.doctor.startup import UnusableRedis  # noqa: PLC0415  not for --help
    from worker.main import run  # noqa: PLC0415  not for --help
    from worker.redis.connect import NoRedisError  # noqa: PLC0415  not for --help
    from worker.redis.connection_problems import UnreachableRedis  # noqa: PLC0415  not for --help

    try:
        _exit_with(run(settings))
    except (SettingsError, NoRedisError, UnusableRedis) as error:
        raise InvalidSettings(str(error)) from None
    except UnreachableRedis as error:
        raise RedisUnreachable(f"cannot start without Redis: {error}") from None


def _check_worker(settings: "Settings") -> None:
    from worker.cli.redis_store import with_store  # noqa: PLC0415  not for --help
    from worker.store.workers import ALIVE_LEASES  # noqa: PLC0415  not for --help

    async def seen_ago(store: "Store") -> float:
        found = await store.workers.surroundings("")
        beats = [beat for beat in found.heartbeats if beat.host == socket.gethostname()]
        return found.redis_time - max((beat.seen_at for beat in beats), default=0.0)

    if with_store(settings, seen_ago) > ALIVE_LEASES * settings.lease_s:
        raise CommandFailure("no worker of this host sends heartbeats")
    click.echo("alive")


@click.command(short_help="Serve the HTTP API.")
@with_parent
def api(*, with_parent: bool) -> None:
    """Serve the HTTP API on KNOUDS_HTTP_HOST and KNOUDS_HTTP_PORT."""
    _stop_with_parent(enabled=with_parent)
    settings = read_settings()

    import asyncio  # noqa: PLC0415  not for --help

    from config.logging import configure_logging  # noqa: PLC0415  not for --help
    from config.settings import SettingsError  # noqa: PLC0415  not for --help
    from worker.compose.api import serve  # noqa: PLC0415  not for --help
    from worker.doctor.startup import UnusableRedis  # noqa: PLC0415  not for --help
    from worker.redis.connect import NoRedisError  # noqa: PLC0415  not for --help

    configure_logging(
        settings.log_format, settings.log_level, sys.stderr, secrets=settings.secret_values
    )
    try:
        asyncio.run(serve(settings))
    except (SettingsError, NoRedisError, UnusableRedis) as error:
        raise InvalidSettings(str(error)) from None


@click.command(
    short_help="Serve the sandbox: the Knouds API locally, free of cost.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@with_parent
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sandbox(*, with_parent: bool, options: tuple[str, ...]) -> None:
    """Serve the sandbox, the Knouds API locally; --help lists its options."""
    _stop_with_parent(enabled=with_parent)

    from worker.sandbox.__main__ import main  # noqa: PLC0415  not for --help

    _exit_with(main(options))


def _exit_with(code: int) -> None:
    sys.stdout.flush()
    if code:
        raise CommandExit(ExitCode(code))


def _stop_with_parent(*, enabled: bool) -> None:
    """Send this process SIGTERM when its parent is gone.

    Standard input is a pipe that the parent holds open; it closes however the parent ends.
    """
    if not enabled:
        return

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1_024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="with-parent", daemon=True).start()
