"""Workers and APIs as processes. A server forks them, so the program is imported only once."""

import multiprocessing
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = ["worker.cli.main", "worker.main", "worker.compose.api"]
ENDS_WITHIN_S = 10.0


def start_program(
    name: str, settings: Mapping[str, str], folder: Path, *, environ: Mapping[str, str] | None
) -> BaseProcess:
    """Start `worker` or `api`; `name` may have a number after a dash, its log is in the folder.

    `environ`: what Python itself has to see at its start; such a process is not forked.
    """
    arguments = (name, dict(settings), folder)
    if environ:
        fresh = multiprocessing.get_context("spawn").Process(target=_run, args=arguments)
        with _added(environ):
            fresh.start()
        return fresh
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forked = context.Process(target=_run, args=arguments, daemon=True)
    forked.start()
    return forked


def kill(process: BaseProcess) -> None:
    """SIGKILL, and wait until it has ended."""
    process.kill()
    process.join(ENDS_WITHIN_S)


def _run(name: str, settings: dict[str, str], folder: Path) -> None:
    """Become the program: its settings and no others, its folder, its log."""
    with (folder / f"{name}.log").open("ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    os.chdir(folder)
    path = os.environ["PATH"]
    os.environ.clear()
    os.environ.update(settings, PATH=path)
    sys.argv = ["knouds-worker", name.split("-", maxsplit=1)[0]]
    from worker.cli.main import main  # noqa: PLC0415  preloaded by the server alone

    main()


@contextmanager
def _added(environ: Mapping[str, str]) -> Generator[None]:
    """Variables that a process inherits which is started now."""
    os.environ.update(environ)
    try:
        yield
    finally:
        for name in environ:
            del os.environ[name]
