"""The log of gates whose record cannot be read: each once in a process."""

from typing import Final

import structlog

log: Final = structlog.get_logger(__name__)

MAX_LOGGED: Final = 1_000

_logged: Final[dict[tuple[str, bytes | str, str], None]] = {}


def log_unreadable(kind: str, field: bytes | str, error: Exception, effect: str) -> str:
    """Log a record that cannot be read, by its field; returns what is wrong with it."""
    why = f"{type(error).__name__}: {error}"
    if (kind, field, why) not in _logged:
        if len(_logged) >= MAX_LOGGED:
            _logged.clear()
        _logged[kind, field, why] = None
        name = field if isinstance(field, str) else field.decode("utf-8", "replace")
        log.error("gate.unreadable", kind=kind, field=name, error=why, effect=effect)
    return why
