"""Helpers for the tests of the command line: real processes, and calls of commands."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import worker

ROOT = Path(worker.__file__).resolve().parent.parent
WITHIN_S = 30.0

Doc = dict[str, Any]
T = TypeVar("T")


def environ(**settings: str) -> dict[str, str]:
    """The environment of a process: only these settings, and our packages on the path."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("KNOUDS_")}
    return {**plain, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **settings}


def command_line(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "worker.cli.main", *words]


def call(
    *words: str, cwd: Path, within_s: float = WITHIN_S, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own, to its end."""
    return subprocess.run(
        command_line(*words),
        cwd=cwd,
        env=environ(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


class Program:
    """A command that runs in the background; its output is collected as it comes."""

    def __init__(self, *words: str, cwd: Path, **settings: str) -> None:
        self._process = subprocess.Popen(
            command_line(*words),
            cwd=cwd,
            env=environ(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._written: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._written.append(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return "".join(self._written)

    def until(self, pattern: str, within_s: float = WITHIN_S) -> re.Match[str]:
        """Wait until its output matches; returns the match."""

        def find() -> re.Match[str] | None:
            found = re.search(pattern, self.output, re.DOTALL)
            if found is None and self._process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"ended without {pattern!r}:\n{self.output}")
            return found

        return wait_until(find, within_s, lambda: f"no {pattern!r} in:\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGINT, within_s: float = WITHIN_S) -> int:
        """Send it a signal, and wait; returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait(within_s)

    def wait(self, within_s: float = WITHIN_S) -> int:
        try:
            return self._process.wait(within_s)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._reader.join(5)
            assert self._process.stdout is not None
            self._process.stdout.close()


def wait_until(
    probe: Callable[[], T | None],
    within_s: float = WITHIN_S,
    complaint: Callable[[], str] = lambda: "nothing found in time",
) -> T:
    """Call `probe` until it returns a value that is not None or False; returns it."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (found := probe()) is not None and found is not False:
            return found
        time.sleep(0.02)
    raise AssertionError(complaint())


class CommandOutcome:
    """The exit code and the output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def doc(self) -> Doc:
        """Its output as one JSON document."""
        found: Doc = json.loads(self.out)
        return found

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"
