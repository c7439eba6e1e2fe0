"""Answers of bounded size: long texts and lists are cut, and each cut says what is missing."""

from typing import Any, Final, cast

from worker.cli.text import Doc

MAX_TEXT_CHARS: Final = 2_000
MAX_ITEMS: Final = 100
MAX_ANSWER_CHARS: Final = 24_000
"""Of texts and names of one answer, about; the rest of a large document is left out."""
MAX_DEPTH: Final = 30
MAX_CUTS: Final = 20
MAX_NAME_CHARS: Final = 128
CHUNK_CHARS: Final = 8_000
"""Of a text that is read in parts."""

NUMBER_CHARS: Final = 8


class Cutter:
    """Cuts the values of one answer; `cuts` says where, as JSON pointers (RFC 6901)."""

    def __init__(self, text_chars: int = MAX_TEXT_CHARS) -> None:
        self._left = MAX_ANSWER_CHARS
        self._text_chars = text_chars
        self.cuts: list[Doc] = []

    def cut(self, value: Any, pointer: str = "", depth: int = 0) -> Any:
        """The value, or its beginning."""
        match value:
            case str():
                return self._text(value, pointer)
            case list() | dict() if depth >= MAX_DEPTH:
                self._note(pointer, 0, len(cast("list[object] | Doc", value)))
                return None
            case list():
                return self._items(cast("list[object]", value), pointer, depth)
            case dict():
                return self._fields(cast("Doc", value), pointer, depth)
            case _:
                self._left -= NUMBER_CHARS
                return value

    def _text(self, text: str, pointer: str) -> str:
        shown = min(self._text_chars, max(0, self._left))
        self._left -= min(len(text), shown)
        if len(text) <= shown:
            return text
        self._note(pointer, shown, len(text))
        return text[:shown] + "…"

    def _items(self, items: list[object], pointer: str, depth: int) -> list[object]:
        shown: list[object] = []
        for number, item in enumerate(items):
            if number == MAX_ITEMS or self._left <= 0:
                self._note(pointer, number, len(items))
                break
            shown.append(self.cut(item, f"{pointer}/{number}", depth + 1))
        return shown

    def _fields(self, doc: Doc, pointer: str, depth: int) -> Doc:
        shown: Doc = {}
        for name, value in doc.items():
            if self._left <= 0:
                self._note(pointer, len(shown), len(doc))
                break
            self._left -= min(len(name), MAX_NAME_CHARS)
            shown[name[:MAX_NAME_CHARS]] = self.cut(value, f"{pointer}/{_escape(name)}", depth + 1)
        return shown

    def _note(self, pointer: str, shown: int, total: int) -> None:
        if len(self.cuts) < MAX_CUTS:
            self.cuts.append({"pointer": pointer[:MAX_TEXT_CHARS], "shown": shown, "of": total})


def value_at(doc: Any, pointer: str) -> Any:
    """The value at a JSON pointer; raises `KeyError` where there is none.

    >>> value_at({"result": {"images": ["a", "b"]}}, "/result/images/1")
    'b'
    """
    value = doc
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        match value:
            case dict():
                value = cast("Doc", value)[name]
            case list() if name.isdecimal() and int(name) < len(cast("list[object]", value)):
                value = cast("list[object]", value)[int(name)]
            case _:
                raise KeyError(name)
    return value


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
