"""The request that edits a job."""

from typing import Annotated, Final, Literal

from msgspec import UNSET
from pydantic import BeforeValidator, Field, WithJsonSchema

from jobs.lanes import PRIORITY_SPAN
from jobs.transitions import JobEdit
from worker.api.models.requests import ActionBody
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import MAX_TAGS, Tag, read_time

NOW: Final = "now"
NONE: Final = "none"
EDITED_FIELDS: Final = ("priority", "tags", "run_at", "start_by")


def _time_or_word(value: object) -> object:
    return value if value in (NOW, NONE) else read_time(value)


_TIME_SCHEMA: Final = {"type": "string", "examples": ["2030-01-31T09:30:00Z"]}
RunAt = Annotated[
    float | Literal["now"], BeforeValidator(_time_or_word), WithJsonSchema(_TIME_SCHEMA)
]
StartBy = Annotated[
    float | Literal["none"], BeforeValidator(_time_or_word), WithJsonSchema(_TIME_SCHEMA)
]


class EditBody(ActionBody):
    """New values of some fields of a job; fields that are absent or null stay."""

    priority: Annotated[
        Annotated[int, Field(ge=-PRIORITY_SPAN, le=PRIORITY_SPAN)] | None,
        Field(description=f"a whole number from -{PRIORITY_SPAN} to {PRIORITY_SPAN}, higher first"),
    ] = None
    tags: Annotated[
        Annotated[list[Tag], Field(max_length=MAX_TAGS)] | None,
        Field(
            description=f"all its tags, at most {MAX_TAGS} texts of 1 to 64 letters, digits and"
            " . _ : @ / + = -",
        ),
    ] = None
    run_at: Annotated[
        RunAt | None,
        Field(description=f'when to run it, an RFC 3339 time with a zone, or "{NOW}"'),
    ] = None
    start_by: Annotated[
        StartBy | None,
        Field(
            description=f'until when it may be sent, an RFC 3339 time with a zone, or "{NONE}":'
            " whenever that is"
        ),
    ] = None

    @property
    def edit(self) -> JobEdit:
        """What to change; raises `InvalidRequest` where that is nothing."""
        if all(getattr(self, name) is None for name in EDITED_FIELDS):
            raise InvalidRequest("body", f"changes nothing: give {', '.join(EDITED_FIELDS)}")
        run_at = UNSET if self.run_at is None else self.run_at
        start_by = UNSET if self.start_by is None else self.start_by
        return JobEdit(
            priority=UNSET if self.priority is None else self.priority,
            tags=UNSET if self.tags is None else tuple(dict.fromkeys(self.tags)),
            run_at=None if run_at == NOW else run_at,
            start_by=None if start_by == NONE else start_by,
        )
