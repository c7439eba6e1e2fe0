"""`knouds-worker`: the root of all commands.

A command's module is imported when the command is called, so that `--help` is fast; only click is
loaded here.
"""

import importlib
import os
import sys
from typing import Final, NamedTuple

import click

from worker import import_guard
from worker.cli.exit_codes import ExitCode, epilog
from worker.cli.text import PROGRAM


class CommandEntry(NamedTuple):
    """The module that defines a command, and its line in the list of commands."""

    module: str
    help: str


SECTIONS: Final[dict[str, dict[str, CommandEntry]]] = {
    "Services": {
        "up": CommandEntry(
            "up.command", "Run everything on this machine; --demo runs an example of each outcome."
        ),
        "worker": CommandEntry("commands.services", "Run a worker."),
        "api": CommandEntry("commands.services", "Serve the HTTP API."),
        "sandbox": CommandEntry(
            "commands.services", "Serve the sandbox: the Knouds API locally, free of cost."
        ),
        "mcp": CommandEntry(
            "commands.mcp", "Serve tools to an assistant over MCP; read-only by default."
        ),
        "drain": CommandEntry("commands.drain", "Take workers out of service ahead of a deploy."),
    },
    "Jobs": {
        "enqueue": CommandEntry("commands.enqueue", "Enqueue one job; --wait for its result."),
        "batch": CommandEntry("commands.batch", "Run a file of jobs; --out for their results."),
        "batches": CommandEntry(
            "commands.batches", "Batches: list, show, results, seal, cancel, requeue-failed."
        ),
        "schedules": CommandEntry(
            "commands.schedules", "Recurring jobs: list, show, set, run, enable, disable, remove."
        ),
        "jobs": CommandEntry("commands.jobs", "List, show, explain, edit, cancel and park jobs."),
    },
    "Waiting for an operator": {
        "parked": CommandEntry("commands.parked", "Parked jobs: list, group, release, resolve."),
        "dead": CommandEntry("commands.dead", "Dead letters: list, group, requeue, discard."),
        "holds": CommandEntry("commands.holds", "Closed gates: list, set (pause), release."),
        "caps": CommandEntry("commands.caps", "Concurrency caps of lanes: list, set, remove."),
        "callbacks": CommandEntry("commands.callbacks", "Callbacks to apps: list, show, resend."),
        "breakers": CommandEntry(
            "commands.breakers", "Gates that close by themselves: list, probe, reset."
        ),
    },
    "Monitoring": {
        "stats": CommandEntry("commands.stats", "Counts, lanes, quota and workers."),
        "watch": CommandEntry("commands.stats", "The stats live, until Ctrl-C."),
        "credits": CommandEntry(
            "commands.credits", "What runs cost: by day, account, target, tag or batch."
        ),
        "budgets": CommandEntry("commands.budgets", "Limits in credits: list, set, remove."),
        "audit": CommandEntry(
            "commands.audit", "What operators did: who, when, why, to how many jobs."
        ),
        "sessions": CommandEntry("commands.sessions", "Browsers that are logged in: list, revoke."),
        "payloads": CommandEntry(
            "commands.payloads", "Encryption of inputs and results: replace a key."
        ),
        "doctor": CommandEntry(
            "commands.doctor", "Check Redis, keys, workers and the indexes of every job."
        ),
    },
}


class LazyGroup(click.Group):
    """A group that loads a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the sections."""
        del ctx
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None where no command has that name."""
        del ctx
        for section in SECTIONS.values():
            if (entry := section.get(cmd_name)) is not None:
                module = importlib.import_module(f"worker.cli.{entry.module}")
                command: click.Command = getattr(module, cmd_name)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections from the table above, without loading a command."""
        del ctx
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in section.items()])


@click.group(
    PROGRAM,
    cls=LazyGroup,
    epilog=epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name=PROGRAM, message="%(prog)s %(version)s")
def commands() -> None:
    """Run paid, long-running Knouds jobs: never pay twice, never lose one.

    Settings are KNOUDS_… variables, from the environment or .env. The commands for jobs talk to the
    HTTP API at KNOUDS_API_URL (default: this machine's) with KNOUDS_API_TOKEN.
    """


def _run() -> int:
    try:
        code: object = commands.main(prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as failure:
        failure.show()
        return failure.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{PROGRAM}: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output closed it; the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.OK


def main() -> None:
    """The console script."""
    import_guard.check()
    sys.exit(int(_run()))


if __name__ == "__main__":
    main()
