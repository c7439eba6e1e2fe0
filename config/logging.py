"""Logging: one line per event, as JSON for machines or in columns for a terminal.

An event is named `noun.past_participle` and its facts are keys. Inputs, results and credentials
are never logged: the values of their keys are replaced, and a known secret is replaced wherever it
appears, also in tracebacks.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.visible_text import escaped, one_line

REDACTED = "[redacted]"
HIDDEN_KEYS = frozenset(  # in lower case, with _ for -
    {"inputs", "result", "api_key", "x_api_key", "authorization", "secret", "password", "token"}
)

_MIN_SUBSTRING_CHARS = 8  # shorter secrets are replaced as whole values only
_MULTILINE_KEYS = frozenset({"exception", "stack"})
_QUIET_LIBRARIES = ("arq", "aiohttp", "asyncio")


class Redactor:
    """The structlog processor that keeps payloads and secrets out of a log line.

    It is the last processor before the renderer: exceptions are text by then. Values that are not
    JSON become their redacted repr, so that no renderer can write one that is not redacted.
    """

    def __init__(self, secrets: Collection[str] = ()) -> None:
        self._exact_secrets = frozenset(secrets) - {""}
        self._substring_secrets = sorted(
            (s for s in self._exact_secrets if len(s) >= _MIN_SUBSTRING_CHARS),
            key=len,
            reverse=True,  # a secret may be part of a longer one
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """The event with payloads and secrets replaced."""
        del logger, method
        return self._mapping(event)

    def _mapping(self, values: Mapping[str, object]) -> dict[str, object]:
        return {
            self._text(str(key)): REDACTED if _is_hidden(key) else self._value(value)
            for key, value in values.items()
        }

    def _value(self, value: object) -> object:
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self._text(value)
            case Mapping():
                return self._mapping(cast("Mapping[str, object]", value))
            case list() | tuple() | set() | frozenset():
                return [self._value(item) for item in cast("Collection[object]", value)]
            case _:
                return self._text(repr(value))

    def _text(self, text: str) -> str:
        if text in self._exact_secrets:
            return REDACTED
        for secret in self._substring_secrets:
            text = text.replace(secret, REDACTED)
        return text


def _is_hidden(key: object) -> bool:
    return str(key).lower().replace("-", "_") in HIDDEN_KEYS


def configure_logging(
    log_format: Literal["auto", "json", "console"],
    level: str,
    stream: TextIO,
    *,
    secrets: Collection[str] = (),
    for_good: bool = False,
) -> None:
    """Set up structlog, and route the standard library's logging through it, to `stream`.

    `auto` means `console` if the stream is a terminal, else `json`. `secrets` are plain texts to
    redact (`Settings.secret_values`). A second call replaces the first, unless that was `for_good`:
    then loggers are made once, which saves most of the cost of an event below the level.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [
        structlog.processors.format_exc_info,
        Redactor(secrets),
        *((_escape_invisible, _console(stream)) if console else ()),
        *(() if console else (structlog.processors.JSONRenderer(),)),
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=for_good,
    )
    _route_stdlib(stream, threshold, shared, last)


def _escape_invisible(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The event as a terminal may show it; JSON escapes all of this by itself."""
    del logger, method
    return {
        one_line(name): _shown(name, value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _shown(name: str, text: str) -> str:
    return escaped(text) if name in _MULTILINE_KEYS else one_line(text)


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        # Rich tracebacks would show local variables, such as inputs and keys.
        exception_formatter=structlog.dev.plain_traceback,
    )


class _Routed(logging.StreamHandler[TextIO]):
    """Our handler on the root logger. Its type distinguishes it from handlers of others."""


def _route_stdlib(
    stream: TextIO, threshold: int, shared: list[Processor], last: list[Processor]
) -> None:
    handler = _Routed(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    for old in [known for known in root.handlers if isinstance(known, _Routed)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
