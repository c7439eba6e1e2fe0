"""The metadata of jobs: a small JSON object of an app's own, shown wherever the job is shown."""

import math
from collections.abc import Mapping
from typing import Final, cast

import msgspec

MAX_METADATA_BYTES: Final = 1_024
"""Of JSON text: it travels with each event of a job that has ended."""

MAX_METADATA_KEYS: Final = 16
MAX_METADATA_KEY_CHARS: Final = 64

METADATA_FIX: Final = (
    f"a JSON object of at most {MAX_METADATA_KEYS} texts, numbers, true or false under names of 1"
    f" to {MAX_METADATA_KEY_CHARS} characters, {MAX_METADATA_BYTES} bytes of JSON in all"
)


def check_metadata(value: object) -> object:
    """The value; raises ValueError, which names no value of it, where it is no metadata.

    None passes.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"must be {METADATA_FIX}")  # noqa: TRY004  pydantic reports this one
    found = cast("dict[object, object]", value)
    if len(found) > MAX_METADATA_KEYS:
        raise ValueError(f"has {len(found)} names and may have {MAX_METADATA_KEYS}")
    for name, one in found.items():
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_METADATA_KEY_CHARS:
            raise ValueError(f"has a name that has not 1 to {MAX_METADATA_KEY_CHARS} characters")
        is_plain = isinstance(one, str | bool | int) or (
            isinstance(one, float) and math.isfinite(one)
        )
        if not is_plain:
            raise ValueError("may hold texts, numbers, true and false alone: nest nothing in it")
    return found


def encode_metadata(metadata: Mapping[str, object] | None) -> bytes | None:
    """Metadata as JSON text with sorted keys; None where there is none, or nothing in it.

    Raises ValueError where it is too large, or cannot be written.
    """
    if not metadata:
        return None
    try:
        text = msgspec.json.encode(metadata, order="sorted")
    except UnicodeEncodeError:
        raise ValueError("contains half a surrogate pair: send whole characters") from None
    except (TypeError, OverflowError):
        raise ValueError("must contain only JSON values") from None
    if len(text) > MAX_METADATA_BYTES:
        raise ValueError(f"is {len(text)} bytes of JSON and may be {MAX_METADATA_BYTES}")
    return text
