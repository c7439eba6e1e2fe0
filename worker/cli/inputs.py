"""JSON objects from the command line, a file or standard input."""

import sys
from pathlib import Path
from typing import Final, cast

from worker.app.json_text import decode_json
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
    value: object = decode_json(text.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict):
        raise ValueError('a JSON object is needed, as {"prompt": "a cat"}')  # noqa: TRY004  as above
    return cast("Doc", value)


def read_object(source: str) -> Doc:
    """The JSON object in an option's text, or in the file that it names."""
    return parse_object(read_text(source))
