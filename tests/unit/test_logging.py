"""Logs: one line per event, and no payload or secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from config.logging import REDACTED, Redactor, configure_logging

KEY = "knouds_live_do_not_show"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Restore the logging configuration after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("arq", "aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_what_the_context_holds() -> None:
    out = io.StringIO()
    configure_logging("json", "info", out)
    structlog.contextvars.bind_contextvars(job="j1")
    structlog.get_logger().info("job.admitted", lane="default/model/suno")
    (line,) = lines(out)
    assert line.pop("timestamp")
    assert line == {
        "event": "job.admitted",
        "job": "j1",
        "lane": "default/model/suno",
        "level": "info",
    }


def test_events_below_the_level_are_dropped() -> None:
    out = io.StringIO()
    configure_logging("json", "warning", out)
    structlog.get_logger().info("job.admitted")
    logging.getLogger("some.library").info("chatter")
    assert out.getvalue() == ""


def test_auto_is_json_in_a_pipe_and_columns_on_a_terminal() -> None:
    for out, is_json in ((io.StringIO(), True), (FakeTerminal(), False)):
        configure_logging("auto", "info", out)
        structlog.get_logger().info("job.admitted")
        assert out.getvalue().startswith("{") == is_json


def test_the_standard_librarys_records_are_formatted_alike() -> None:
    out = io.StringIO()
    configure_logging("json", "info", out, secrets=[KEY])
    logging.getLogger("some.library").info("sent %s", KEY)
    (line,) = lines(out)
    assert (line["event"], line["logger"]) == (f"sent {REDACTED}", "some.library")


@pytest.mark.parametrize("name", ["arq.worker", "aiohttp.access"])
def test_noisy_libraries_speak_from_warnings_on(name: str) -> None:
    out = io.StringIO()
    configure_logging("json", "debug", out)
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("trouble")
    assert [line["event"] for line in lines(out)] == ["trouble"]


def test_configuring_again_replaces_the_first_set_up() -> None:
    before, after = io.StringIO(), io.StringIO()
    configure_logging("json", "info", before)
    configure_logging("json", "info", after)
    structlog.get_logger().info("job.admitted")
    logging.getLogger("some.library").info("hello")
    assert before.getvalue() == ""
    assert len(lines(after)) == 2


def test_a_logger_that_was_used_keeps_a_set_up_for_good() -> None:
    before, after = io.StringIO(), io.StringIO()
    configure_logging("json", "info", before, for_good=True)
    log = structlog.get_logger()
    log.info("job.admitted")
    configure_logging("json", "info", after)
    log.info("job.settled", state="succeeded")
    assert [line["event"] for line in lines(before)] == ["job.admitted", "job.settled"]
    assert after.getvalue() == ""


def _fail(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_in_a_traceback_is_blotted_out_and_locals_are_not_shown(form: str) -> None:
    out = FakeTerminal()
    configure_logging("json" if form == "json" else "console", "info", out, secrets=[KEY])
    inputs = {"prompt": "a private picture"}
    try:
        _fail(f"bad header {KEY}")
    except ValueError:
        structlog.get_logger().exception("submit.failed")
        logging.getLogger("some.library").exception("failed too")
    assert inputs["prompt"] not in out.getvalue()
    assert KEY not in out.getvalue()
    assert out.getvalue().count(f"ValueError: bad header {REDACTED}") == 2


@pytest.mark.parametrize(
    "name", ["inputs", "result", "api_key", "Authorization", "secret", "x-api-key", "X-Api-Key"]
)
def test_what_stands_under_a_hidden_name_is_dropped_at_any_depth(name: str) -> None:
    redacted = Redactor()(None, "info", {"event": "e", name: 1, "deep": [{name: {"a": 1}}]})
    assert redacted == {"event": "e", name: REDACTED, "deep": [{name: REDACTED}]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (KEY, REDACTED),
        (f"GET /?key={KEY}&x", f"GET /?key={REDACTED}&x"),
        ([KEY, (KEY,)], [REDACTED, [REDACTED]]),
        ({KEY: 1}, {REDACTED: 1}),
        (ValueError(KEY), f"ValueError('{REDACTED}')"),
        (KEY.encode(), f"b'{REDACTED}'"),
        ("pw", REDACTED),
        ("a pw within", "a pw within"),
        (1.5, 1.5),
        (None, None),
    ],
)
def test_a_known_secret_is_blotted_out_wherever_it_stands(value: object, shown: object) -> None:
    """A short secret is replaced only as a whole value: as a part it would be in every word."""
    assert Redactor([KEY, "pw"])(None, "info", {"fact": value}) == {"fact": shown}


def test_the_longer_of_two_secrets_goes_first() -> None:
    redacted = Redactor([KEY, KEY + "_2"])(None, "info", {"fact": f"<{KEY}_2>"})
    assert redacted == {"fact": f"<{REDACTED}>"}


def test_text_that_is_not_unicode_does_not_break_the_line() -> None:
    out = io.StringIO()
    configure_logging("json", "info", out)
    structlog.get_logger().info("job.failed", said="\udcff", thing=object())
    assert len(lines(out)) == 1
