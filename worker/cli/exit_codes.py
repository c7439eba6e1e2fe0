"""Exit codes that scripts can rely on, and the errors that a command ends with."""

from enum import IntEnum
from typing import IO, Any, ClassVar, Final

import click

from worker.cli.text import PROGRAM, sanitize


class ExitCode(IntEnum):
    """The exit codes of the program."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_API = 3
    NO_REDIS = 4
    SETTINGS = 5
    NOT_SUCCEEDED = 6
    PARKED = 7
    INTERRUPTED = 130


EXIT_MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "refused or failed: one line on stderr says why and what to do",
    ExitCode.USAGE: "the command was not understood",
    ExitCode.NO_API: "the API cannot be reached",
    ExitCode.NO_REDIS: "Redis cannot be reached: the API said so, or the worker at its start",
    ExitCode.SETTINGS: "a setting is wrong",
    ExitCode.NOT_SUCCEEDED: "--wait ended with the job parked, dead or cancelled; of a batch: some"
    " are dead or cancelled",
    ExitCode.PARKED: "a batch ended with none dead or cancelled, and some parked",
    ExitCode.INTERRUPTED: "interrupted",
}


def epilog() -> str:
    """The table of exit codes for `--help`."""
    lines = [f"{int(code):>3}  {meaning}" for code, meaning in EXIT_MEANINGS.items()]
    return "\n".join(["\b", "Exit codes:", *lines])


class CommandFailure(click.ClickException):
    """An expected failure: one line on stderr and an exit code, without a traceback."""

    exit_code: ClassVar[int] = int(ExitCode.FAILED)

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(sanitize(message).split()))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"{PROGRAM}: {self.format_message()}", file=file, err=file is None)


class ApiUnreachable(CommandFailure):
    """Nothing answers at the address of the API, or another program does."""

    exit_code: ClassVar[int] = int(ExitCode.NO_API)


class RedisUnreachable(CommandFailure):
    """Redis cannot be reached."""

    exit_code: ClassVar[int] = int(ExitCode.NO_REDIS)


class InvalidSettings(CommandFailure):
    """A setting is wrong."""

    exit_code: ClassVar[int] = int(ExitCode.SETTINGS)


class CommandExit(click.exceptions.Exit):
    """Ends a command with an exit code and no further output."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(int(code))
