"""Entries of arq's queue as JSON.

Pickle would let whoever can write to Redis run code, and arq deletes an entry that it cannot read
together with its arguments. So an unreadable entry, or one for an unknown function, becomes a call
of `quarantine`, which keeps it as a dead letter.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from jobs import functions
from worker.store.codec import DECODE_ERRORS, encode

FUNCTIONS: Final = {
    function.__name__: function
    for function in (
        functions.run_model,
        functions.run_workflow,
        functions.submit,
        functions.quarantine,
    )
}
"""Every function of the arq queue, by the name it is enqueued under."""

MAX_KEPT_CHARS: Final = 100_000
"""Characters of an unreadable entry that are kept."""


def serialize(entry: Mapping[str, Any]) -> bytes:
    """Write an entry."""
    return encode(entry)


class ArqEntry(msgspec.Struct, kw_only=True):
    """An entry as arq writes it: function, arguments, keyword arguments, try, time in ms."""

    f: str
    a: list[Any]
    k: dict[str, Any]
    t: int | None
    et: int


_entry_decoder: Final = msgspec.json.Decoder(ArqEntry)


def deserialize(data: bytes) -> dict[str, Any]:
    """Read an entry; an unreadable or invalid one becomes a call of `quarantine`."""
    try:
        entry = _entry_decoder.decode(data)
        wrong = _invalid_because(entry)
    except msgspec.ValidationError as error:
        entry, wrong = _quarantine(data, f"it is not an arq entry: {error}"), ""
    except DECODE_ERRORS:
        why = "it is not JSON (use a JSON serializer on the arq pool, not pickle)"
        entry, wrong = _quarantine(data, why), ""
    if wrong:
        entry = _quarantine(data, wrong)
    return msgspec.structs.asdict(entry)


def _quarantine(data: bytes, why: str) -> ArqEntry:
    text = data.decode("utf-8", "backslashreplace")[:MAX_KEPT_CHARS]
    return ArqEntry(f=functions.quarantine.__name__, a=[text, why], k={}, t=None, et=0)


def _invalid_because(entry: ArqEntry) -> str:
    """Why arq could not call what an entry names; empty when it can."""
    match entry.f:
        case "run_model" | "run_workflow":
            given = {"target", "inputs"} & set(entry.k)
            fits = len(entry.a) + len(given) == 2 and not (entry.a and "target" in given)  # noqa: PLR2004
            fits = fits and "ctx" not in entry.k
            return "" if fits else f"{entry.f} takes a target and inputs"
        case "submit":
            fits = len(entry.a) > 0 and len(entry.a) % 2 == 0 and _has_only_strings(entry)
            return "" if fits else "submit takes pairs of strings"
        case "quarantine":
            fits = len(entry.a) == 2 and _has_only_strings(entry)  # noqa: PLR2004
            return "" if fits else "quarantine takes two strings"
        case _:
            return f"no function is called {entry.f!r}: use run_model or run_workflow"


def _has_only_strings(entry: ArqEntry) -> bool:
    return not entry.k and all(isinstance(arg, str) for arg in entry.a)


def submit_entry(submits: Sequence[tuple[str, str]], now: float) -> tuple[str, bytes]:
    """The arq id and payload for `(job id, submit token)` pairs that were admitted together.

    The id is `<job>:<submit token>` of the first pair: unique, since every admission makes new
    tokens.
    """
    name = functions.submit.__name__
    args = [text for pair in submits for text in pair]
    entry = ArqEntry(f=name, a=args, k={}, t=None, et=int(now * 1000))
    return ":".join(submits[0]), encode(entry)
