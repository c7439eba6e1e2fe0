"""A real Redis with a shifted clock: libfaketime is loaded into the server alone."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.killable_redis import KillableRedis

_LIBRARY_PATTERNS: Final = (
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib*/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
)


def find_faketime() -> Path:
    """The library. Without it the test is skipped, but not in CI, which has to have it."""
    for pattern in _LIBRARY_PATTERNS:
        for found in sorted(Path("/").glob(pattern.lstrip("/"))):
            return found
    reason = "libfaketime is not installed (on Debian: apt-get install libfaketime)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class TimeShiftedRedis(KillableRedis):
    """A Redis whose clock differs from the machine's by an offset that can change while it runs."""

    def __init__(self, folder: Path, offset_s: int) -> None:
        self._offset = folder / "offset"
        super().__init__(
            folder,
            LD_PRELOAD=str(find_faketime()),
            FAKETIME_TIMESTAMP_FILE=str(self._offset),
            FAKETIME_NO_CACHE="1",
            # Its timers run as always: only its time of day is shifted.
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )
        self.set_offset(offset_s)

    def set_offset(self, seconds: int) -> None:
        """Shift its clock, from one of its next reads of the time on."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._offset)


@asynccontextmanager
async def time_shifted_redis(folder: Path, offset_s: int) -> AsyncGenerator[TimeShiftedRedis]:
    """Start one."""
    redis = TimeShiftedRedis(folder, offset_s)
    try:
        await redis.start()
        yield redis
    finally:
        await redis.kill()
