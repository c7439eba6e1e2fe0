"""The results of a batch in a file: each job once, also after a command that was killed."""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from worker.cli.exit_codes import CommandFailure
from worker.cli.text import Doc

FINAL_STATE: Final = "succeeded"
"""A job in another state may be requeued, and then has another result."""


class OutputBusy(Exception):
    """Another command writes the same file."""


class OutputFailed(CommandFailure):
    """The file of results cannot be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"cannot write {path}: {error.strerror or error}")


class ResultFile:
    """A file of JSON lines, to which results are appended. A job's last line is what counts.

    A line that was cut off, as its writer was killed, is removed when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None
        self.states: dict[str, str] = {}
        """Job id → the state in its last line."""

    def __enter__(self) -> Self:
        """Open the file, and read what is there; raises `OutputBusy`, ValueError and OSError."""
        is_special = self._path.exists() and not (self._path.is_file() or self._path.is_dir())
        if is_special or str(self._path) == "-":
            raise ValueError(
                f"--out needs a regular file, and {self._path} is none: what it has is read"
                " when the command is run again"
            )
        stream = self._path.open("a+b")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise OutputBusy(f"another command writes {self._path}: wait for it") from None
        try:
            stream.truncate(self._read(stream))
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        return self

    def _read(self, stream: IO[bytes]) -> int:
        """Note what the file has; returns the bytes of its whole lines."""
        stream.seek(0)
        whole = 0
        for line in stream:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self._note(line)
        return whole

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._stream is not None:
            with suppress(OSError):  # what `append` could not write it has reported
                self._stream.close()

    def is_written(self, job_id: str, state: str) -> bool:
        """Whether the file has this result."""
        return self.states.get(job_id) in (state, FINAL_STATE)

    def append(self, rows: Iterable[Doc]) -> int:
        """Append the results that the file does not have; returns how many.

        Raises `OutputFailed`.
        """
        stream = self._stream
        if stream is None:
            raise ValueError("the file is not open")
        new = [row for row in rows if not self.is_written(str(row["id"]), str(row["state"]))]
        if new:
            try:
                stream.write(b"".join(json.dumps(row).encode() + b"\n" for row in new))
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                raise OutputFailed(self._path, error) from None
            self.states |= {str(row["id"]): str(row["state"]) for row in new}
        return len(new)

    def sort(self, order: Mapping[str, int]) -> None:
        """Write each job's last line in a given order, in one step; others stay behind them."""
        last: dict[str, bytes] = {}
        with self._path.open("rb") as stream:
            for line in stream:
                last[str(json.loads(line)["id"])] = line
        names = sorted(last, key=lambda name: order.get(name, len(order)))
        sorted_path = self._path.with_name(f".{self._path.name}.sorted")
        with sorted_path.open("wb") as written:
            written.writelines(last[name] for name in names)
            written.flush()
            os.fsync(written.fileno())
        sorted_path.replace(self._path)

    def _note(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            self.states[str(row["id"])] = str(row["state"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{self._path} has a line that is no result: give --out another name"
            ) from None
