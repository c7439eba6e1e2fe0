"""The lines of a batch file: job requests or inputs, as JSON lines or CSV, each with its id.

An id is made of the batch, the content of the line and how often that content came before. So the
same file sent again makes no second job, whatever was sent of it before, and a line that another
was put in front of keeps its id.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Final

from worker.cli.inputs import parse_object
from worker.cli.text import Doc

ID_PREFIX: Final = "b-"
DIGEST_BYTES: Final = 16

JSON_SUFFIX: Final = ":json"
"""At the end of a CSV column's name: its cells are JSON values, not texts."""

MAX_CELL_CHARS: Final = 8 << 20

UNCLOSED: Final = "unexpected end"
MISPLACED: Final = "expected after"
"""Parts of what `csv` says of quotes."""


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A job request and its line in the file."""

    number: int
    """From 1."""
    request: Doc
    size_bytes: int
    """Of the request as it is sent."""

    @property
    def job_id(self) -> str:
        """The id of its job."""
        return str(self.request["id"])


@dataclass(slots=True)
class LineReader:
    """Reads the lines of a file as job requests of one batch."""

    batch: str
    defaults: Mapping[str, object]
    """Fields of the requests of lines that do not have them: kind, target, account and so on."""
    report: Callable[[int, str], None]
    """Gets the number of a line that is wrong, and why; the others are read."""
    _seen: Counter[bytes] = field(default_factory=Counter[bytes])

    def json_lines(self, texts: Iterable[str]) -> Iterator[BatchLine]:
        """Lines of JSON; empty ones are passed over."""
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                continue
            try:
                found = self._line(number, parse_object(text))
            except ValueError as error:
                self.report(number, str(error))
                continue
            yield found

    def csv_rows(self, stream: IO[str]) -> Iterator[BatchLine]:
        """Rows of CSV below a head row that names the inputs; an empty cell is no input."""
        csv.field_size_limit(MAX_CELL_CHARS)
        quotes = _Quotes()
        rows = csv.reader(quotes.watched(stream), strict=True)
        try:
            names = list(next(rows, ()))
        except csv.Error as error:
            raise ValueError(f"line {quotes.opened_in or 1}: {_explain_csv(error)}") from None
        if not names or len(set(names)) < len(names) or not all(names):
            raise ValueError("the first row must name each column, with no name twice")
        _require_utf8(names)
        while True:
            number = rows.line_num + 1
            try:
                row = next(rows)
                found = self._line(number, _inputs_of(names, row)) if any(row) else None
            except StopIteration:
                return
            except csv.Error as error:
                if rows.line_num > number:  # nobody knows which of these lines are rows
                    at = quotes.opened_in if UNCLOSED in str(error) else number
                    raise ValueError(f"line {at}: {_explain_csv(error)}") from None
                quotes.reset()
                self.report(number, _explain_csv(error))
            except ValueError as error:
                self.report(number, str(error))
            else:
                if found is not None:
                    yield found

    def _line(self, number: int, given: Doc) -> BatchLine:
        """A request; without `inputs` all of a line are the inputs."""
        fields = given if isinstance(given.get("inputs"), dict) else {"inputs": given}
        content: Doc = {**self.defaults, **fields, "batch": self.batch}
        missing = [name for name in ("kind", "target") if name not in content]
        if missing:
            raise ValueError(
                "names no model and no workflow: give --model or --workflow, or `kind` and `target`"
                " beside `inputs` in each line"
            )
        if "id" not in content:
            content["id"] = self._id_of(content)
        return BatchLine(number, content, len(json.dumps(content)))  # ASCII: a character is a byte

    def _id_of(self, content: Doc) -> str:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        digest = hashlib.blake2s(text.encode(), digest_size=DIGEST_BYTES)
        self._seen[digest.digest()] += 1
        return f"{ID_PREFIX}{digest.hexdigest()}-{self._seen[digest.digest()]}"


class _Quotes:
    """Follows the quotes in lines of CSV: a doubled one closes and opens again."""

    def __init__(self) -> None:
        self.opened_in = 0
        """The line in which the last quoted cell began, from 1; 0: none did."""
        self._is_open = False

    def watched(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines."""
        for number, line in enumerate(lines, start=1):
            count = (line.replace('""', "") if self._is_open else line).count('"')
            if count > self._is_open:
                self.opened_in = number
            self._is_open ^= bool(count % 2)
            yield line

    def reset(self) -> None:
        """The next line begins a row."""
        self._is_open = False


def opened_text(stream: IO[bytes]) -> io.TextIOWrapper:
    """The text of a file: UTF-8, with or without a byte order mark; line ends as they are.

    A byte that is not UTF-8 becomes half a surrogate pair, so that only its line is refused.
    """
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _explain_csv(error: csv.Error) -> str:
    text = str(error)
    if UNCLOSED in text:
        return "a quote opens here, and none closes it"
    if MISPLACED in text:
        return "the row that begins here has a quote inside a cell: double it"
    return text


def _require_utf8(cells: list[str]) -> None:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        raise ValueError("the row is not UTF-8: encode it as UTF-8") from None


def _inputs_of(names: list[str], row: list[str]) -> Doc:
    _require_utf8(row)
    if len(row) != len(names):
        raise ValueError(f"has {len(row)} cells, and the first row names {len(names)}")
    return dict(_input_of(name, cell) for name, cell in zip(names, row, strict=True) if cell)


def _input_of(name: str, cell: str) -> tuple[str, object]:
    if not name.endswith(JSON_SUFFIX):
        return name, cell
    try:
        return name.removesuffix(JSON_SUFFIX), json.loads(cell)
    except ValueError:
        raise ValueError(f"column {name}: {cell[:40]!r} is not JSON") from None
