"""Responses that show breakers."""

from typing import Annotated

from msgspec import Meta

from jobs.breakers import Breaker, BreakerCause, BreakerState
from jobs.breakers.texts import CAUSE_TEXTS, advice_text, breaker_text, limits_submits
from worker.api.models.response import ResponseModel, Time, optional_rfc3339


class BreakerErrorResponse(ResponseModel):
    """The last error that a breaker counted."""

    code: str
    http_status: int | None
    message: str
    at: Time | None


class BreakerResponse(ResponseModel):
    """A gate that opens and closes by itself, by what the provider answers."""

    id: str
    scope: str
    cause: BreakerCause
    state: BreakerState
    text: Annotated[str, Meta(description="scope, cause, last error and next probe in one line")]
    action: Annotated[str, Meta(description="what an operator can do")]
    since: Annotated[Time | None, Meta(description="when it tripped; null while it is closed")]
    last_error: BreakerErrorResponse | None
    probe_error: Annotated[
        str | None, Meta(description="why the last probe call failed; null if it did not")
    ]
    failures: Annotated[int, Meta(description="counted since it was last without any")]
    trips: Annotated[int, Meta(description="how often it tripped since it was first seen")]
    next_probe_at: Annotated[Time | None, Meta(description="while it is open")]
    step: Annotated[int, Meta(description="while probing: submits at once")]
    workers: Annotated[
        list[str],
        Meta(description="the workers it stops, where it does not stop all: they cannot connect"),
    ]
    queued: Annotated[
        int | None,
        Meta(
            description="jobs queued in its scope; null where Redis did not answer after an action"
        ),
    ]


class BreakerPageResponse(ResponseModel):
    """Breakers: open ones first, then probing ones, then those that count failures."""

    items: list[BreakerResponse]
    next_cursor: None


def breaker_response(breaker: Breaker, queued: int | None, now: float) -> BreakerResponse:
    """A breaker at `now`, with the number of jobs queued in its scope; None if that is unknown."""
    return BreakerResponse(
        id=breaker.id,
        scope=breaker.scope,
        cause=breaker.cause,
        state=breaker.state,
        text=breaker_text(breaker, now),
        action=advice_text(breaker, now) if limits_submits(breaker, now) else "",
        since=optional_rfc3339(breaker.opened_at),
        last_error=_last_error(breaker),
        probe_error=(failed.message or failed.code) if (failed := breaker.call_error) else None,
        failures=breaker.failures,
        trips=breaker.trips,
        next_probe_at=optional_rfc3339(breaker.next_probe_at),
        step=breaker.step,
        workers=[] if breaker.is_shared else list(breaker.workers),
        queued=queued,
    )


def _last_error(breaker: Breaker) -> BreakerErrorResponse | None:
    error = breaker.error
    if error is None:
        return None
    return BreakerErrorResponse(
        code=error.code,
        http_status=error.http_status,
        message=error.message or CAUSE_TEXTS[breaker.cause],
        at=optional_rfc3339(breaker.failed_at),
    )
