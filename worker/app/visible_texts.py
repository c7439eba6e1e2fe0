"""Which texts a caller sees: below role `read` codes and our own words, never those of others.

A message of the provider may quote the inputs of a job, and a note of an operator may repeat them.
`visible` replaces both in whatever is shown. `Queries` applies it to all that it returns, so that
the API, the pages and what they derive from records (why a job waits, what needs attention) cannot
show more.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import msgspec

from jobs.breakers.record import BreakerError
from jobs.callbacks import Callback
from jobs.effects import PollHistory
from jobs.evidence.records import UncertainSubmit
from jobs.holds import CoolDown, Hold
from jobs.job import Attempt, Job, JobEvent, Reason
from jobs.lane_caps import LaneCap
from jobs.usage import UsageRow
from jobs.why import WhyContext
from worker.store.webhooks import Orphan
from worker.store.workers import Heartbeat

T = TypeVar("T")

HIDDEN_TEXT: Final = "[hidden: needs role read]"
"""Stands where a text is that the caller may not see."""
HIDDEN_FROM_TENANTS: Final = "[hidden: may be about another tenant's job]"

TEXTS_OF_OTHERS: Final[Mapping[type, tuple[str, ...]]] = {
    Attempt: ("message", "provider_status"),
    BreakerError: ("message",),
    Callback: ("url",),
    CoolDown: ("why",),
    Heartbeat: ("poll_failure",),
    Hold: ("message", "note"),
    Job: ("callback_url",),
    JobEvent: ("note",),
    LaneCap: ("note",),
    Orphan: ("status", "targets"),
    PollHistory: ("failure",),
    Reason: ("message",),
    UncertainSubmit: ("note",),
    UsageRow: ("code", "status", "targets"),
    WhyContext: ("poll_failure",),
}
"""By type, the fields that hold what the provider or an operator wrote."""

SHARED: Final = (BreakerError, CoolDown, Heartbeat, Hold, LaneCap, Orphan, UsageRow, WhyContext)
"""What every tenant meets: its texts may be about a job of another one."""

TEXTS_OF_OTHER_TENANTS: Final[Mapping[type, tuple[str, ...]]] = {
    kind: TEXTS_OF_OTHERS[kind] for kind in SHARED
}

_HIDDEN: Final[ContextVar[Mapping[type, tuple[str, ...]] | None]] = ContextVar(
    "hidden texts", default=None
)
"""None outside of requests. Each request is a task with a context of its own."""


def set_texts_visible(*, are_visible: bool, of_all_tenants: bool = True) -> None:
    """Set whether what this task reads shows the texts of others, and of other tenants' jobs."""
    hidden = None if of_all_tenants else TEXTS_OF_OTHER_TENANTS
    _HIDDEN.set(hidden if are_visible else TEXTS_OF_OTHERS)


def sees_all_texts() -> bool:
    """Whether what this task reads hides nothing: the role is `read`, and there is no tenant."""
    return _HIDDEN.get() is None


def visible(value: T) -> T:
    """A record, or a collection or dataclass of records, with the texts that the caller may see."""
    return value if _HIDDEN.get() is None else cast("T", _masked(value))


def _masked(value: object) -> object:
    """The value; itself where nothing in it is hidden."""
    match value:
        case msgspec.Struct():
            changes = _changes(value, value.__struct_fields__)
            return msgspec.structs.replace(value, **changes) if changes else value
        case list():
            return [_masked(one) for one in cast("list[object]", value)]
        case _ if type(value) is tuple:  # no named one
            return tuple(_masked(one) for one in cast("tuple[object, ...]", value))
        case Mapping():
            found = cast("Mapping[object, object]", value)
            return {key: _masked(one) for key, one in found.items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = tuple(field.name for field in dataclasses.fields(value) if field.init)
            changes = _changes(value, names)
            return dataclasses.replace(value, **changes) if changes else value
        case _:
            return value


def _changes(record: object, names: Iterable[str]) -> dict[str, Any]:
    """The fields of a record that are shown otherwise."""
    kinds = _HIDDEN.get() or {}
    hidden = kinds.get(type(record), ())
    text = HIDDEN_FROM_TENANTS if kinds is TEXTS_OF_OTHER_TENANTS else HIDDEN_TEXT
    changes: dict[str, Any] = {}
    for name in names:
        found = getattr(record, name)
        if name not in hidden:
            shown = _masked(found)
        elif isinstance(found, tuple):
            shown = ()
        else:
            shown = text if found else found
        if shown is not found and shown != found:
            changes[name] = shown
    return changes
