"""JSON as Redis stores it. What another program wrote raises one of `DECODE_ERRORS`."""

import secrets
from typing import Any, Final

import msgspec

from jobs.effects import PollHistory
from jobs.holds import CoolDown, Hold
from jobs.job import Job
from worker.store.schema import JOB_MIGRATIONS, UNCHANGED, RecordSchema

_encoder: Final = msgspec.json.Encoder()
_job: Final = RecordSchema(Job, JOB_MIGRATIONS)
_hold: Final = RecordSchema(Hold, UNCHANGED)
_cool_down: Final = RecordSchema(CoolDown, UNCHANGED)
_cursor: Final = msgspec.json.Decoder(tuple[str, float, str])
_any: Final = msgspec.json.Decoder()

_MARK: Final = b',"mark":"'
_MARK_SIZE: Final = len(_MARK) + 8 + len(b'"}')

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
"""What decoding raises on malformed bytes."""


def encode(value: object) -> bytes:
    """Write a value as JSON."""
    return _encoder.encode(value)


def encode_unique(value: object) -> bytes:
    """Write a tagged struct as JSON that no other write equals: equal changes count as two."""
    return b'%s,"mark":"%s"}' % (encode(value)[:-1], secrets.token_hex(4).encode())


def without_mark(data: bytes) -> bytes:
    """What `encode_unique` wrote, without that which makes it unique."""
    return data[:-_MARK_SIZE] + b"}" if data[-_MARK_SIZE:].startswith(_MARK) else data


def decode(data: bytes | str) -> Any:
    """Read any JSON; raises one of `DECODE_ERRORS`."""
    return _any.decode(data)


def decode_job(data: bytes) -> Job:
    """Read a job's record; raises `NewerSchema`, or one of `DECODE_ERRORS`."""
    return _job.decode(data)


def decode_hold(data: bytes) -> Hold:
    """Read a hold; raises `NewerSchema`, or one of `DECODE_ERRORS`."""
    return _hold.decode(without_mark(data))


def decode_cool_down(data: bytes) -> CoolDown:
    """Read a cool-down; raises `NewerSchema`, or one of `DECODE_ERRORS`."""
    return _cool_down.decode(data)


def decode_cursor(data: bytes) -> tuple[str, float, str]:
    """Read where a page ended: index, score, member; raises one of `DECODE_ERRORS`."""
    return _cursor.decode(data)


def encode_poll_history(attempt: int, history: PollHistory) -> str:
    """Write a poll history with its attempt: `attempt:polls:failures:missing[:running at]`.

    After a poll that said nothing also `:empty in a row:empty since:failure`.
    """
    counts = f"{attempt}:{history.polls}:{history.failures_in_row}:{history.missing_in_row}"
    running_at = "" if history.last_running_at is None else f"{history.last_running_at:.3f}"
    if not history.failure and not history.empty_in_row:
        return f"{counts}:{running_at}" if running_at else counts
    since = "" if history.empty_since is None else f"{history.empty_since:.3f}"
    return f"{counts}:{running_at}:{history.empty_in_row}:{since}:{history.failure}"


def decode_poll_history(data: bytes | None, attempt: int) -> PollHistory:
    """Read the poll history of an attempt; that of an earlier one counts as empty."""
    try:
        number, polls, failures, missing, *rest = (data or b"").split(b":", 7)
        running_at, empty, since, failure = (*rest, b"", b"", b"", b"")[:4]
        history = PollHistory(
            int(polls),
            int(failures),
            int(missing),
            float(running_at) if running_at else None,
            int(empty or 0),
            float(since) if since else None,
            failure.decode("utf-8", "replace"),
        )
        return history if int(number) == attempt else PollHistory()
    except ValueError:  # absent, or written by another program
        return PollHistory()
