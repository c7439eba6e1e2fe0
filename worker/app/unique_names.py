"""The check that JSON objects name each member once, which no decoder of ours makes."""

import json
from typing import Any


class DuplicateNameError(ValueError):
    """A name appears twice in one JSON object."""

    def __init__(self) -> None:
        super().__init__("a name appears twice in one object")


def require_unique_names(text: str) -> None:
    """Raise `DuplicateNameError` where an object of `text` has a name twice.

    Decoders keep the last member without a word, and what is paid for would depend on it. Raises
    ValueError and RecursionError for text that is not JSON. Nothing of the text is kept.
    """
    json.loads(text, object_pairs_hook=_check, parse_float=_skip, parse_int=_skip)


def _check(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise DuplicateNameError


def _skip(number: str) -> None:
    """Drop a number: it may be too long to convert."""
    del number
