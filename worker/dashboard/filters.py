"""The filter of a job list, in the URL and in forms.

An empty field counts as absent, because forms send empty fields. If a value is invalid, the page
shows the error and no jobs: without the filter it would show, and act on, too many.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from pydantic import ValidationError

from jobs.states import State
from worker.api.models.query_parameters import JobsQuery
from worker.api.models.response import rfc3339
from worker.app.bulk_request import JobSelection
from worker.app.job_request_parser import as_invalid_request
from worker.dashboard.views.formatting import parse_time
from worker.store.read.filter import Filter

FILTER_FIELDS: Final = (
    "state",
    "kind",
    "target",
    "code",
    "cause",
    "tag",
    "batch",
    "fair_key",
    "after",
    "account",
    "finding",
    "since",
    "until",
)
TIME_FIELDS: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class FilterForm:
    """A filter as it was requested, with its errors."""

    values: dict[str, str]
    """Field → text of the fields that are not empty."""
    filter: Filter
    errors: dict[str, str] = field(default_factory=dict[str, str])
    """Field → error text."""
    cursor: str | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether any field is set."""
        return bool(self.values)

    def query(self, **changes: str | None) -> str:
        """The filter as a query string, with changes; None removes a field."""
        merged = {**self.values, **changes}
        return urlencode({name: value for name, value in merged.items() if value})

    def href(self, path: str, **changes: str | None) -> str:
        """The URL of a page with this filter."""
        query = self.query(**changes)
        return f"{path}?{query}" if query else path

    def selection(self, ids: list[str] | None = None) -> JobSelection:
        """The jobs of a bulk action: those of `ids`, or all that match the filter."""
        fields: dict[str, Any] = {
            name: rfc3339(getattr(self.filter, name)) if name in TIME_FIELDS else value
            for name, value in self.values.items()
        }
        if ids is not None:
            fields["ids"] = ids
        text = msgspec.json.encode(fields or {"all": True}).decode()
        return JobSelection(self.filter, text, None if ids is None else dict.fromkeys(ids))


def read_filter(source: Mapping[str, str], now: float, state: State | None = None) -> FilterForm:
    """Read a filter from a query or a form; a `state` of the page overrides its field."""
    given = {name: text.strip() for name in FILTER_FIELDS if (text := source.get(name, "")).strip()}
    errors: dict[str, str] = {}
    values: dict[str, Any] = {}
    if state is not None:
        given.pop("state", None)
        values["state"] = state
    for name, text in given.items():
        try:
            values[name] = _value(name, text, now)
        except ValueError as error:
            errors[name] = str(error)
    found = Filter(**values) if not errors else Filter()
    return FilterForm(given, found, errors, source.get("cursor") or None)


def _value(name: str, text: str, now: float) -> Any:
    if name in TIME_FIELDS:
        return parse_time(text, now)
    try:
        return getattr(JobsQuery.model_validate({name: text}), name)
    except ValidationError as error:
        raise ValueError(str(as_invalid_request(error, JobsQuery))) from None
