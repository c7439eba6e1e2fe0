"""The command `up`."""

import click

from worker.cli.client_session import read_settings
from worker.cli.exit_codes import CommandExit, ExitCode


@click.command(short_help="Run everything on this machine; --demo runs an example of each outcome.")
@click.option("--demo", is_flag=True, help="Enqueue a batch of jobs, one for each outcome.")
@click.option(
    "--exit",
    "leave",
    is_flag=True,
    help="With --demo: stop after it; exit code 0 if every job ended as expected.",
)
def up(*, demo: bool, leave: bool) -> None:
    """Run Redis, a worker, the API and, without a KNOUDS_API_KEY, a sandbox in place of Knouds.

    Redis is embedded unless KNOUDS_REDIS_URL is set. Its data and the logs are in KNOUDS_STATE_DIR.
    Ctrl-C stops everything in order; a second one stops it at once. A process that ends by itself
    is started again.
    """
    if leave and not demo:
        raise click.UsageError("--exit needs --demo")
    settings = read_settings()
    if leave and settings.accounts:
        raise click.UsageError("--exit needs the sandbox, and KNOUDS_API_KEY is set: unset it")

    from worker.cli.up.run import run  # noqa: PLC0415  not for --help

    code = run(settings, demo=demo, exit_after_demo=leave)
    if code is not ExitCode.OK:
        raise CommandExit(code)
