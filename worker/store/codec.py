"""JSON as it lies in Redis: strict, fast, and never a crash on what somebody else wrote."""

from typing import Any, Final

import msgspec

from jobs.effects import Looks
from jobs.holds import CoolDown, Hold
from jobs.job import Job

_encoder: Final = msgspec.json.Encoder()
_job: Final = msgspec.json.Decoder(Job)
_hold: Final = msgspec.json.Decoder(Hold)
_cool_down: Final = msgspec.json.Decoder(CoolDown)
_position: Final = msgspec.json.Decoder(tuple[str, float, str])
_any: Final = msgspec.json.Decoder()

BROKEN: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
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


def decode_position(data: bytes) -> tuple[str, float, str]:
    """Read where a list stopped: index, score, member; raises one of `BROKEN`."""
    return _position.decode(data)


def encode_looks(attempt: int, looks: Looks) -> str:
    """Write looks with the attempt they belong to."""
    seen = "" if looks.running_at is None else f":{looks.running_at:.3f}"
    return f"{attempt}:{looks.polls}:{looks.troubles}:{looks.missing}{seen}"


def decode_looks(data: bytes | None, attempt: int) -> Looks:
    """Read the looks of an attempt; those of an earlier one do not count."""
    try:
        number, polls, troubles, missing, *seen = (data or b"").split(b":")
        running_at = float(seen[0]) if seen else None
        looks = Looks(int(polls), int(troubles), int(missing), running_at)
        return looks if int(number) == attempt else Looks()
    except ValueError:  # nothing there, or nothing of ours: they start anew
        return Looks()
