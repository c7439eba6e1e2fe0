"""The provider over HTTP: `wire` and `requests` are sans-IO; `connection`, `pool` do the I/O."""

from worker.provider.answers import (
    CancelAnswer,
    CancelNotThere,
    CancelTaken,
    Identity,
    QuotaSeen,
    Trouble,
    WebhookEvent,
    WorkflowSchema,
)
from worker.provider.client import Provider, Timeouts, UnknownAccount

__all__ = [
    "CancelAnswer",
    "CancelNotThere",
    "CancelTaken",
    "Identity",
    "Provider",
    "QuotaSeen",
    "Timeouts",
    "Trouble",
    "UnknownAccount",
    "WebhookEvent",
    "WorkflowSchema",
]
