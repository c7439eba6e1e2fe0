"""The status of a run, in our spelling."""

from typing import Final

from worker.provider.knouds import fields
from worker.provider.knouds.fields import ResponseBody

UNKNOWN_STATUS: Final = "unknown"
"""The status of a readable response that names none."""

_STATUS_ALIASES: Final = {"canceled": "cancelled"}
END_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})
"""Statuses of a run that has ended."""

DOCUMENTED_STATUSES: Final = END_STATUSES | {"processing", "cancel_requested"}
"""Statuses of the provider's documentation, in our spelling."""


def read_status(body: ResponseBody) -> str:
    """Read a run's status in our spelling: lower case, `_` between words, `cancelled`."""
    text = fields.read_text(body.status)
    if not text:
        return UNKNOWN_STATUS
    return text if text in DOCUMENTED_STATUSES else normalize_status(text)


def normalize_status(text: str) -> str:
    """Return a status in our spelling: `Cancel Requested` and `canceled` have one each."""
    plain = fields.sanitize(text)[: fields.MAX_CODE_CHARS].lower()
    plain = plain.replace("-", "_").replace(" ", "_")
    return _STATUS_ALIASES.get(plain, plain)
