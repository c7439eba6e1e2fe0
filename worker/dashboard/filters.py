"""The filter of a list as it stands in the address and in forms: read, written, shown.

Fields left empty are fields left out, as forms send them. A value that cannot be is told beside the
list, which then shows nothing: a filter that was silently dropped would show, and act on, too much.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from pydantic import ValidationError

from jobs.states import State
from worker.api.models.requests import JobsQuery
from worker.api.models.views import moment
from worker.app.bulk_request import Wanted
from worker.app.job_request_parser import explain
from worker.dashboard.views.formatting import read_moment
from worker.store.read.queries import Filter

NAMES: Final = ("state", "kind", "target", "code", "tag", "batch", "account", "since", "until")
TIMES: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter as a person asked for it."""

    given: dict[str, str]
    """Field → text, those that are not empty."""
    filter: Filter
    faults: dict[str, str] = field(default_factory=dict[str, str])
    """Field → what is wrong with it."""
    cursor: str | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it hides anything."""
        return bool(self.given)

    def query(self, **changes: str | None) -> str:
        """The same filter as a query, with changes; None drops a field."""
        merged = {**self.given, **changes}
        return urlencode({name: value for name, value in merged.items() if value})

    def href(self, path: str, **changes: str | None) -> str:
        """A page with this filter."""
        query = self.query(**changes)
        return f"{path}?{query}" if query else path

    def wanted(self, ids: list[str] | None = None) -> Wanted:
        """What a bulk act is for: the jobs named, or all that the filter admits."""
        said: dict[str, Any] = {
            name: moment(getattr(self.filter, name)) if name in TIMES else value
            for name, value in self.given.items()
        }
        if ids is not None:
            said["ids"] = ids
        text = msgspec.json.encode(said or {"all": True}).decode()
        return Wanted(self.filter, text, None if ids is None else dict.fromkeys(ids))


def read_filter(source: Mapping[str, str], now: float, state: State | None = None) -> Asked:
    """Read a filter from a query or a form; `state` is set by the page where there is one."""
    given = {name: text.strip() for name in NAMES if (text := source.get(name, "")).strip()}
    faults: dict[str, str] = {}
    values: dict[str, Any] = {}
    if state is not None:
        given.pop("state", None)
        values["state"] = state
    for name, text in given.items():
        try:
            values[name] = _value(name, text, now)
        except ValueError as error:
            faults[name] = str(error)
    found = Filter(**values) if not faults else Filter()
    return Asked(given, found, faults, source.get("cursor") or None)


def _value(name: str, text: str, now: float) -> Any:
    if name in TIMES:
        return read_moment(text, now)
    try:
        return getattr(JobsQuery.model_validate({name: text}), name)
    except ValidationError as error:
        raise ValueError(str(explain(error, JobsQuery))) from None
