"""Exit codes that scripts can rely on, and the one way in which a command fails."""

from collections.abc import Sequence
from enum import IntEnum
from typing import IO, Any, ClassVar, Final

import click

from worker.cli.text import clean

PROGRAM: Final = "knouds-worker"


class Exit(IntEnum):
    """What the program's exit code says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_API = 3
    NO_REDIS = 4
    SETTINGS = 5
    NOT_SUCCEEDED = 6
    INTERRUPTED = 130


MEANINGS: Final[dict[Exit, str]] = {
    Exit.OK: "done",
    Exit.FAILED: "refused or failed: one line on stderr says what and how to mend it",
    Exit.USAGE: "the command was not understood",
    Exit.NO_API: "the API cannot be reached",
    Exit.NO_REDIS: "Redis cannot be reached: the API said so, or the worker at its start",
    Exit.SETTINGS: "a setting is wrong",
    Exit.NOT_SUCCEEDED: "--wait ended with the job parked, dead or cancelled",
    Exit.INTERRUPTED: "interrupted",
}


def epilog() -> str:
    """The table of exit codes for `--help`."""
    lines = [f"{int(code):>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["\b", "Exit codes:", *lines])


class Failure(click.ClickException):
    """An expected failure: one line on stderr and an exit code, never a traceback."""

    exit_code: ClassVar[int] = int(Exit.FAILED)

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(clean(message).split()))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"{PROGRAM}: {self.format_message()}", file=file, err=file is None)


class NoApi(Failure):
    """Nobody answers where the API should be, or somebody else does."""

    exit_code: ClassVar[int] = int(Exit.NO_API)


class NoRedis(Failure):
    """Redis cannot be reached."""

    exit_code: ClassVar[int] = int(Exit.NO_REDIS)


class WrongSettings(Failure):
    """A setting is wrong."""

    exit_code: ClassVar[int] = int(Exit.SETTINGS)


class Ended(click.exceptions.Exit):
    """A command that has said all there is to say, and ends with a code of its own."""

    def __init__(self, code: Exit) -> None:
        super().__init__(int(code))


def end_with_worst(codes: Sequence[Exit]) -> None:
    """End the command with the first code that is not 0; return where all is well."""
    for code in codes:
        if code is not Exit.OK:
            raise Ended(code)
