"""Request models of batches. Each description completes "must be …", as in `requests`."""

from typing import Annotated, Any

from pydantic import Field

from config.callback_hosts import MAX_URL_CHARS
from jobs.budgets.record import MIN_LIMIT
from jobs.credits.charges import MAX_CREDITS
from worker.api.models.query_parameters import QueryParameters
from worker.api.models.requests import ActionBody
from worker.app.job_request_parser import Batch, matching


class BatchBody(ActionBody):
    """A batch to create. The same again changes nothing."""

    name: Annotated[Batch, Field(description="1 to 128 letters, digits and . _ : @ / + = -")]
    metadata: Annotated[
        dict[str, Any] | None,
        Field(description="a JSON object of at most 4 KiB that is shown with it"),
    ] = None
    callback_url: Annotated[
        Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARS)] | None,
        Field(
            description="a URL of a host in KNOUDS_CALLBACK_HOSTS that hears when it is complete or"
            " stalled"
        ),
    ] = None
    budget: Annotated[
        Annotated[float, Field(ge=MIN_LIMIT, le=MAX_CREDITS, allow_inf_nan=False)] | None,
        Field(description="credits that all its runs may cost, more than 0"),
    ] = None


class BatchesQuery(QueryParameters):
    """Which batches."""

    limit: Annotated[int, Field(ge=1, le=100, description="a whole number from 1 to 100")] = 20
    cursor: Annotated[
        Annotated[str, matching(r"[0-9]{1,9}")] | None,
        Field(description="the next_cursor of the previous page"),
    ] = None


class BatchResultsQuery(QueryParameters):
    """Which results of a batch."""

    limit: Annotated[int, Field(ge=1, le=500, description="a whole number from 1 to 500")] = 100
    cursor: Annotated[
        str | None,
        Field(max_length=64, description="the cursor of the last line that was read"),
    ] = None
