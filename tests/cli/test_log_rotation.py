"""The logs that `up` keeps of its processes stay bounded while these run."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from worker.cli.up import processes
from worker.cli.up.processes import ChildProcess
from worker.cli.up.stack import ProcessStack

MAX_BYTES = 20_000
WRITER = """
import sys, time
for number in range(1_000_000):
    print(f"line {number}", flush=True)
    time.sleep(0.00005)
"""


def line_numbers(log: Path) -> list[int]:
    lines = log.read_text(encoding="ascii").splitlines()
    return [int(line.split()[1]) for line in lines if line]


async def test_a_log_is_rotated_while_its_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MAX_LOG_BYTES", MAX_BYTES)
    monkeypatch.setattr("worker.cli.up.stack.LOG_CHECK_INTERVAL_S", 0.01)
    log = tmp_path / "writer.log"
    child = ChildProcess(
        "writer", [sys.executable, "-c", WRITER], dict(os.environ), log, stop_timeout_s=5
    )
    stack = ProcessStack(lambda _: None, asyncio.Event())
    await stack.start(child)
    stack.keep_all_alive()
    previous, sizes = log.with_suffix(".log.1"), list[int]()
    async with asyncio.timeout(30):
        while not previous.exists() or len(sizes) < 20 or line_numbers(previous)[0] == 0:
            sizes.append(log.stat().st_size)
            await asyncio.sleep(0.01)
    await stack.stop()
    kept = line_numbers(previous) + line_numbers(log)
    assert kept == sorted(kept), "in their order"
    assert kept[-1] > kept[0] > 0, "rotated twice, and written on"
    assert max(sizes) < 20 * MAX_BYTES
    assert child.recent_log().rstrip().endswith(str(kept[-1]))
