"""A real Redis whose own clock is moved, by libfaketime under the server alone."""

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
    """Its clock is the machine's and some seconds more or less, to be changed while it runs."""

    def __init__(self, folder: Path, offset_s: int) -> None:
        self._offset = folder / "offset"
        super().__init__(
            folder,
            LD_PRELOAD=str(find_faketime()),
            FAKETIME_TIMESTAMP_FILE=str(self._offset),
            FAKETIME_NO_CACHE="1",
            # Its timers go on as they are: only what it takes for the time of day is moved.
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )
        self.set_offset(offset_s)

    def set_offset(self, seconds: int) -> None:
        """Move its clock; from its next look on the new time counts."""
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
