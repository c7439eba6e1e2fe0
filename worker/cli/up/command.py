"""The command itself."""

import click

from worker.cli.client_session import read_settings
from worker.cli.exit_codes import CommandExit, ExitCode


@click.command(short_help="Run everything on this machine; --demo shows it all.")
@click.option("--demo", is_flag=True, help="Send a first batch that takes every road there is.")
@click.option(
    "--exit", "leave", is_flag=True, help="With --demo: stop after it, 0 if all went as expected."
)
def up(*, demo: bool, leave: bool) -> None:
    """Run Redis, a worker, the API and, without a KNOUDS_API_KEY, a local stand-in of Knouds.

    Redis is embedded unless KNOUDS_REDIS_URL is set; its data are in KNOUDS_STATE_DIR, and so are
    the logs. Ctrl-C stops all in order, a second one at once. What ends by itself is started again.
    """
    if leave and not demo:
        raise click.UsageError("--exit goes with --demo")
    settings = read_settings()
    if leave and settings.accounts:
        raise click.UsageError("--exit needs the sandbox, and KNOUDS_API_KEY is set: unset it")

    from worker.cli.up.run import run  # noqa: PLC0415  not for --help

    code = run(settings, demo=demo, exit_after_demo=leave)
    if code is not ExitCode.OK:
        raise CommandExit(code)
