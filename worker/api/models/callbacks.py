"""Responses that show callbacks."""

from typing import Annotated

from msgspec import Meta

from jobs.callbacks import Callback, CallbackState, CallbackSubject, CallbackType
from worker.api.models.response import ResponseModel, Time, optional_rfc3339, rfc3339
from worker.app.callbacks import CallbackOverview
from worker.app.shown_ids import shown_job_id
from worker.store.callbacks import CallbackPage


class CallbackResponse(ResponseModel):
    """An event of a job or a batch on its way to a receiver."""

    id: Annotated[str, Meta(description="`webhook-id`, the same in every try")]
    type: CallbackType
    job: Annotated[str | None, Meta(description="the id of its job; null for one of a batch")]
    batch: Annotated[str | None, Meta(description="the name of its batch; null for one of a job")]
    sequence: Annotated[
        int, Meta(description="larger is newer, among the events of one job or batch")
    ]
    url: str
    host: Annotated[str, Meta(description="scheme, host and port, which limits go by")]
    state: Annotated[
        CallbackState,
        Meta(
            description="pending: it is sent, now or later; delivered: the receiver answered 2xx;"
            " failed: it is tried no more, unless it is resent"
        ),
    ]
    created_at: Annotated[Time, Meta(description="when it happened")]
    since: Annotated[
        Time, Meta(description="since when it is in its state, or is tried, if pending")
    ]
    tries: int
    tried_at: Annotated[Time | None, Meta(description="when its last try ended")]
    next_try_at: Annotated[
        Time | None,
        Meta(description="null unless it is pending; a host that is down is tried later"),
    ]
    status: Annotated[
        int | None, Meta(description="HTTP status of the last try; null without an answer")
    ]
    error: Annotated[str, Meta(description="what was wrong with the last try, else empty")]


class CallbackHostResponse(ResponseModel):
    """A host that callbacks could not reach several times in a row."""

    host: str
    since: Time
    next_probe_at: Time
    failures: Annotated[int, Meta(description="tries in a row that found it down")]
    error: str


class CallbackPageResponse(ResponseModel):
    """Callbacks, newest first. A page can be short and still have a next one."""

    items: list[CallbackResponse]
    next_cursor: str | None
    hosts_down: Annotated[
        list[CallbackHostResponse],
        Meta(description="they get one try now and then; empty for a token of a tenant"),
    ]


def callback_response(callback: Callback) -> CallbackResponse:
    """A callback as JSON, without its record."""
    shown = shown_job_id(callback.subject_id)
    return CallbackResponse(
        id=callback.id,
        type=callback.type,
        job=shown if callback.subject is CallbackSubject.JOB else None,
        batch=shown if callback.subject is CallbackSubject.BATCH else None,
        sequence=callback.sequence,
        url=callback.url,
        host=callback.host,
        state=callback.state,
        created_at=rfc3339(callback.created_at),
        since=rfc3339(callback.since),
        tries=callback.tries,
        tried_at=optional_rfc3339(callback.tried_at),
        next_try_at=optional_rfc3339(callback.next_at),
        status=callback.status,
        error=callback.error,
    )


def callback_page_response(page: CallbackPage, overview: CallbackOverview) -> CallbackPageResponse:
    """A page of callbacks as JSON."""
    return CallbackPageResponse(
        items=[callback_response(one) for one in page.items],
        next_cursor=page.next_cursor,
        hosts_down=[
            CallbackHostResponse(
                host=host,
                since=rfc3339(breaker.since),
                next_probe_at=rfc3339(breaker.until),
                failures=breaker.failures,
                error=breaker.error,
            )
            for host, breaker in sorted(overview.hosts_down.items())
        ],
    )
