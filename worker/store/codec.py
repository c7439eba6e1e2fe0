"""JSON as it lies in Redis: strict, fast, and never a crash on what somebody else wrote."""

from typing import Any, Final

import msgspec

from jobs.effects import PollHistory
from jobs.holds import CoolDown, Hold
from jobs.job import Job

_encoder: Final = msgspec.json.Encoder()
_job: Final = msgspec.json.Decoder(Job)
_hold: Final = msgspec.json.Decoder(Hold)
_cool_down: Final = msgspec.json.Decoder(CoolDown)
_cursor: Final = msgspec.json.Decoder(tuple[str, float, str])
_any: Final = msgspec.json.Decoder()

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
"""What decoding raises on bytes that are not what they should be."""


def encode(value: object) -> bytes:
    """Write a value as JSON."""
    return _encoder.encode(value)


def decode(data: bytes | str) -> Any:
    """Read any JSON; raises one of `BROKEN`."""
    return _any.decode(data)


def decode_job(data: bytes) -> Job:
    """Read a job's record; raises one of `BROKEN`."""
    return _job.decode(data)


def decode_hold(data: bytes) -> Hold:
    """Read a hold; raises one of `BROKEN`."""
    return _hold.decode(data)


def decode_cool_down(data: bytes) -> CoolDown:
    """Read a cool-down; raises one of `BROKEN`."""
    return _cool_down.decode(data)


def decode_cursor(data: bytes) -> tuple[str, float, str]:
    """Read where a list stopped: index, score, member; raises one of `BROKEN`."""
    return _cursor.decode(data)


def encode_poll_history(attempt: int, history: PollHistory) -> str:
    """Write looks with the attempt they belong to."""
    seen = "" if history.last_running_at is None else f":{history.last_running_at:.3f}"
    return f"{attempt}:{history.polls}:{history.failures_in_row}:{history.missing_in_row}{seen}"


def decode_poll_history(data: bytes | None, attempt: int) -> PollHistory:
    """Read the looks of an attempt; those of an earlier one do not count."""
    try:
        number, polls, troubles, missing, *seen = (data or b"").split(b":")
        running_at = float(seen[0]) if seen else None
        looks = PollHistory(int(polls), int(troubles), int(missing), running_at)
        return looks if int(number) == attempt else PollHistory()
    except ValueError:  # nothing there, or nothing of ours: they start anew
        return PollHistory()
