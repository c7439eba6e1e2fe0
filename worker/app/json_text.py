"""Reads JSON that came from outside, strictly and once.

Beyond what `json` refuses: a name twice in one object (decoders keep the last one without a word,
and what is paid for would depend on it), NaN, infinite numbers and halves of surrogate pairs. The
number of values is bounded, and with it the memory: `[[],[],…]` becomes twenty times its size.
"""

import json
import re
from typing import Any, Final, NoReturn

MAX_VALUES: Final = 250_000
"""Values in one text, counted by commas and opening brackets: about 60 MB at most."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class InvalidJson(ValueError):
    """What is wrong, and where; nothing of the text is repeated."""


def decode_json(text: bytes) -> Any:
    """The value of a JSON text in UTF-8; raises `InvalidJson`."""
    count = text.count(b",") + text.count(b"[") + text.count(b"{")
    if count > MAX_VALUES:
        raise InvalidJson(f"it has more than {MAX_VALUES} values (about {count}): send fewer")
    try:
        characters = text.decode()
    except UnicodeDecodeError as error:
        raise InvalidJson(f"it is not UTF-8 (byte {error.start}): encode it as UTF-8") from None
    if characters.startswith("\ufeff"):
        raise InvalidJson("it starts with a byte order mark: remove it")
    try:
        value = json.loads(
            characters,
            object_pairs_hook=_unique_members,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidJson(f"it is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise InvalidJson("it is nested too deeply: flatten it") from None
    except UnicodeEncodeError:
        raise InvalidJson(
            "a string contains half a surrogate pair (a lone \\ud800 to \\udfff): send whole"
            " characters, and cut strings between characters"
        ) from None
    except InvalidJson:
        raise
    except ValueError:
        raise InvalidJson("it contains a number with too many digits") from None
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidJson("a name appears twice in one object: give each name once")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise InvalidJson("it contains a number out of range")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson(f"{name} is not JSON: send a number, a string or null")
