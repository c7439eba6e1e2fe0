"""JSON objects from the command line, a file or standard input."""

import json
import sys
from pathlib import Path
from typing import Final, cast

from worker.app.unique_names import require_unique_names
from worker.cli.text import Doc

SOURCES: Final = "JSON|@FILE|-"


def read_text(source: str) -> str:
    """The text itself, the file named after `@`, or standard input for `-`.

    Raises ValueError where it cannot be read.
    """
    if source != "-" and not source.startswith("@"):
        return source
    name = "standard input" if source == "-" else source[1:]
    try:
        if source == "-":
            return sys.stdin.read()
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(f"cannot read {name}: {why}") from None


def parse_object(text: str) -> Doc:
    """A JSON object; raises ValueError that names the position of the error."""
    try:
        value: object = json.loads(text, parse_constant=_reject_constant)
        require_unique_names(text)
    except json.JSONDecodeError as error:  # a ValueError itself, which says less
        where = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"not JSON ({error.msg}, {where})") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError('a JSON object is needed, as {"prompt": "a cat"}')  # noqa: TRY004  as above
    return cast("Doc", value)


def read_object(source: str) -> Doc:
    """The JSON object in an option's text, or in the file that it names."""
    return parse_object(read_text(source))


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
