"""Acts of people on many jobs over HTTP. Each answers with counts, and can be tried out first."""

from typing import Any, TypeVar, cast

import msgspec
from aiohttp import web

from worker.api.context import acting, office_of
from worker.api.models.requests import BulkActRequest, BulkRequeueRequest, JobFilter
from worker.api.models.views import counts_view, json_response, moment
from worker.api.parsing import as_model, read_json
from worker.api.problems import bad_field
from worker.app.bulk_request import SWEEPS, Act, Order, Wanted
from worker.app.enqueue import BadOrder
from worker.store.read.queries import Filter

M = TypeVar("M", bound=BulkActRequest)


async def bulk_release(request: web.Request) -> web.Response:
    """Free parked jobs that a filter admits, through their holds."""
    return await _act(request, Act.RELEASE, await _read(request, BulkActRequest))


async def bulk_requeue(request: web.Request) -> web.Response:
    """Send dead letters down the road again, with changed inputs where a patch is given."""
    body = await _read(request, BulkRequeueRequest)
    return await _act(request, Act.REQUEUE, body, body.patch_inputs)


async def bulk_discard(request: web.Request) -> web.Response:
    """Give up parked jobs and dead letters that a filter admits."""
    return await _act(request, Act.DISCARD, await _read(request, BulkActRequest))


async def bulk_cancel(request: web.Request) -> web.Response:
    """Cancel what a filter admits and is not settled."""
    return await _act(request, Act.CANCEL, await _read(request, BulkActRequest))


async def _act(
    request: web.Request, act: Act, body: BulkActRequest, patch: dict[str, Any] | None = None
) -> web.Response:
    order = Order(act, _wanted(act, body.filter), patch, body.dry_run, body.limit)
    counts = await office_of(request).bulk.act(order, acting(body.note))
    return json_response(counts_view(order, counts))


def _wanted(act: Act, asked: JobFilter) -> Wanted:
    """The jobs that are meant; raises `Problem` where that may be all of them by mistake."""
    said = asked.model_dump(mode="json", exclude_defaults=True)
    if not said:
        raise bad_field("filter", 'admits every job: narrow it, or say {"all": true}')
    if asked.all and len(said) > 1:
        raise bad_field("filter.all", "stands alone: leave it or the other fields away")
    if asked.state is not None and asked.state not in SWEEPS[act]:
        fitting = ", ".join(dict.fromkeys(SWEEPS[act]))
        raise bad_field("filter.state", f"is {asked.state}, and {act} is for {fitting}")
    said |= {name: moment(said[name]) for name in ("since", "until") if name in said}
    return Wanted(
        Filter(**asked.model_dump(exclude={"all", "ids"})),
        msgspec.json.encode(said).decode(),
        None if asked.ids is None else dict.fromkeys(asked.ids),
    )


async def _read(request: web.Request, model: type[M]) -> M:
    """The body; a fault inside the filter is named there."""
    data = await read_json(request)
    asked = cast("dict[str, Any]", data).get("filter") if isinstance(data, dict) else None
    if isinstance(asked, dict):
        try:
            as_model(cast("object", asked), JobFilter)
        except BadOrder as error:
            raise bad_field(f"filter.{error.field}", str(error)) from None
    return as_model(cast("object", data), model)
