"""Acts of people on many jobs over HTTP. Each answers with counts, and can be tried out first."""

from typing import Any, TypeVar, cast

import msgspec
from aiohttp import web

from worker.api.context import context_of, current_actor
from worker.api.models.requests import BulkActionBody, BulkRequeueBody, JobFilter
from worker.api.models.views import counts_view, json_response, rfc3339
from worker.api.parsing import read_json, validate_model
from worker.api.problems import bad_field
from worker.app.bulk_request import SWEPT_STATES, BulkAction, BulkRequest, JobSelection
from worker.app.enqueue import InvalidRequest
from worker.store.read.queries import Filter

M = TypeVar("M", bound=BulkActionBody)


async def bulk_release(request: web.Request) -> web.Response:
    """Free parked jobs that a filter admits, through their holds."""
    return await _run_bulk_action(
        request, BulkAction.RELEASE, await _read_bulk_body(request, BulkActionBody)
    )


async def bulk_requeue(request: web.Request) -> web.Response:
    """Send dead letters down the road again, with changed inputs where a patch is given."""
    body = await _read_bulk_body(request, BulkRequeueBody)
    return await _run_bulk_action(request, BulkAction.REQUEUE, body, body.patch_inputs)


async def bulk_discard(request: web.Request) -> web.Response:
    """Give up parked jobs and dead letters that a filter admits."""
    return await _run_bulk_action(
        request, BulkAction.DISCARD, await _read_bulk_body(request, BulkActionBody)
    )


async def bulk_cancel(request: web.Request) -> web.Response:
    """Cancel what a filter admits and is not settled."""
    return await _run_bulk_action(
        request, BulkAction.CANCEL, await _read_bulk_body(request, BulkActionBody)
    )


async def _run_bulk_action(
    request: web.Request,
    action: BulkAction,
    body: BulkActionBody,
    patch: dict[str, Any] | None = None,
) -> web.Response:
    order = BulkRequest(action, _selection(action, body.filter), patch, body.dry_run, body.limit)
    counts = await context_of(request).bulk.run(order, current_actor(body.note))
    return json_response(counts_view(order, counts))


def _selection(action: BulkAction, requested: JobFilter) -> JobSelection:
    """The jobs that are meant; raises `Problem` where that may be all of them by mistake."""
    said = requested.model_dump(mode="json", exclude_defaults=True)
    if not said:
        raise bad_field("filter", 'admits every job: narrow it, or say {"all": true}')
    if requested.all and len(said) > 1:
        raise bad_field("filter.all", "stands alone: leave it or the other fields away")
    if requested.state is not None and requested.state not in SWEPT_STATES[action]:
        fitting = ", ".join(dict.fromkeys(SWEPT_STATES[action]))
        raise bad_field("filter.state", f"is {requested.state}, and {action} is for {fitting}")
    said |= {name: rfc3339(said[name]) for name in ("since", "until") if name in said}
    return JobSelection(
        Filter(**requested.model_dump(exclude={"all", "ids"})),
        msgspec.json.encode(said).decode(),
        None if requested.ids is None else dict.fromkeys(requested.ids),
    )


async def _read_bulk_body(request: web.Request, model: type[M]) -> M:
    """The body; a fault inside the filter is named there."""
    data = await read_json(request)
    asked = cast("dict[str, Any]", data).get("filter") if isinstance(data, dict) else None
    if isinstance(asked, dict):
        try:
            validate_model(cast("object", asked), JobFilter)
        except InvalidRequest as error:
            raise bad_field(f"filter.{error.field}", str(error)) from None
    return validate_model(cast("object", data), model)
