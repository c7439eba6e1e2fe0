"""The query parameters of lists of callbacks."""

from typing import Annotated

from pydantic import Field

from jobs.callbacks import CallbackState
from jobs.tenants import STORED_JOB_ID
from worker.api.models.query_parameters import MAX_PAGE_SIZE, QueryParameters
from worker.api.models.requests import StoredBatch
from worker.app.job_request_parser import matching

MAX_HOST_CHARS = 300


class CallbacksQuery(QueryParameters):
    """Which callbacks to list, newest first."""

    state: Annotated[
        CallbackState | None, Field(description=f"one of {', '.join(CallbackState)}")
    ] = None
    host: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_HOST_CHARS,
            description="a host, as hooks.example.com or hooks.example.com:8443",
        ),
    ] = None
    job: Annotated[
        Annotated[str, matching(STORED_JOB_ID)] | None, Field(description="the id of a job")
    ] = None
    batch: Annotated[
        StoredBatch | None, Field(description="the name of a batch; cannot be given with job")
    ] = None
    limit: Annotated[
        int,
        Field(ge=1, le=MAX_PAGE_SIZE, description=f"a whole number from 1 to {MAX_PAGE_SIZE}"),
    ] = 50
    cursor: Annotated[
        str | None,
        Field(max_length=1_000, description="the next_cursor of the previous page"),
    ] = None
