"""Characters that move a cursor or turn a text never reach a terminal or a console log."""

import io
import json

import pytest
import structlog

from config.logging import configure_logging
from config.visible_text import INVISIBLE
from worker.cli.api_client import _parse_response  # pyright: ignore[reportPrivateUsage]
from worker.cli.output import doc_table, show
from worker.cli.text import sanitize
from worker.dashboard.views.formatting import visible_text

HOSTILE = [
    "\x1b[2J",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x07",
    "\x08\x08",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u061c",
    "\u2028",
    "\ufeff",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_table_message_or_page_shows_them(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(doc_table([{"a": f"x{text}y"}], {"A": lambda doc: doc["a"]}))
    shown = capsys.readouterr().out + sanitize(text) + visible_text(text)
    assert INVISIBLE.search(shown) is None


def test_a_cell_cannot_look_like_another_row(capsys: pytest.CaptureFixture[str]) -> None:
    show(doc_table([{"a": "one\nfake row\r\nmore"}], {"A": lambda doc: doc["a"]}))
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_printed_with_them_escaped_and_means_the_same(text: str) -> None:
    raw = json.dumps({"items": [text], "next": None}, ensure_ascii=False)
    response = _parse_response("http://x", 200, raw)
    assert INVISIBLE.search(response.text) is None
    assert json.loads(response.text) == {"items": [text], "next": None}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_log_line_has_them_and_one_event_is_one_line(text: str, log_format: str) -> None:
    stream = io.StringIO()
    configure_logging(log_format, "info", stream)  # type: ignore[arg-type]
    structlog.get_logger().info(f"event{text}", **{f"key{text}": f"a{text}\nforged=line"})
    assert INVISIBLE.search(stream.getvalue()) is None
    assert len(stream.getvalue().splitlines()) == 1


def test_a_traceback_keeps_its_lines() -> None:
    stream = io.StringIO()
    configure_logging("console", "info", stream)
    try:
        int("\x1b[2Jboom")
    except ValueError:
        structlog.get_logger().exception("it.failed")
    assert INVISIBLE.search(stream.getvalue()) is None
    assert len(stream.getvalue().splitlines()) > 3
