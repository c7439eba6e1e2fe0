"""Bulk actions over HTTP. The response is counts; `dry_run` counts without acting."""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec
from aiohttp import web

from jobs.tenants import tenant_job_id
from worker.api.auth.principal import current_principal
from worker.api.context import context_of, current_actor, of_own_tenant
from worker.api.edge.bodies import BodyKind
from worker.api.models.bulk import bulk_action_response
from worker.api.models.requests import BulkActionBody, BulkRequeueBody, JobFilter
from worker.api.models.response import json_response, rfc3339
from worker.api.parsing import read_parsed, validate_model
from worker.api.problems import bad_field
from worker.app.bulk_request import SWEPT_STATES, BulkAction, BulkRequest, JobSelection
from worker.app.enqueue import InvalidRequest
from worker.store.read.filter import Filter

M = TypeVar("M", bound=BulkActionBody)


async def run_bulk_action(action: BulkAction, request: web.Request) -> web.Response:
    """Perform an action on every job that the filter of the body matches."""
    model = BulkRequeueBody if action is BulkAction.REQUEUE else BulkActionBody
    kind = BodyKind.INPUTS if action is BulkAction.REQUEUE else BodyKind.SMALL
    body = await read_parsed(request, kind, lambda data: _parse_bulk_body(data, model))
    patch = body.patch_inputs if isinstance(body, BulkRequeueBody) else None
    selection = _selection(action, body.filter)
    if body.list_ids and not body.dry_run:
        raise bad_field("list_ids", "is for a dry run: send dry_run, too, or omit it")
    bulk_request = BulkRequest(
        action, selection, patch, body.dry_run, body.limit, lists_ids=body.list_ids
    )
    counts = await context_of(request).use_cases.bulk.run(bulk_request, current_actor(body.note))
    return json_response(bulk_action_response(bulk_request, counts))


def _selection(action: BulkAction, requested: JobFilter) -> JobSelection:
    """The jobs that are meant; raises `Problem` for a filter that may match all by mistake."""
    given = requested.model_dump(mode="json", exclude_defaults=True)
    if not given:
        raise bad_field("filter", 'matches every job: narrow it, or send {"all": true}')
    if requested.all and len(given) > 1:
        raise bad_field("filter.all", "must be the only field: omit it or the others")
    if requested.state is not None and requested.state not in SWEPT_STATES[action]:
        allowed = ", ".join(dict.fromkeys(SWEPT_STATES[action]))
        raise bad_field("filter.state", f"is {requested.state}, but {action} is for {allowed}")
    given |= {name: rfc3339(given[name]) for name in ("since", "until") if name in given}
    return JobSelection(
        of_own_tenant(Filter(**requested.model_dump(exclude={"all", "ids"}))),
        msgspec.json.encode(given).decode(),
        None if requested.ids is None else dict.fromkeys(_stored_ids(requested.ids)),
    )


def _stored_ids(given: Sequence[str]) -> list[str]:
    """The stored ids of the jobs that the caller names, of the caller's tenant in any case."""
    tenant = current_principal().grants.tenant
    return [tenant_job_id(tenant, name) for name in given]


def _parse_bulk_body(data: Any, model: type[M]) -> M:
    """The body; an error inside the filter names the field as `filter.<name>`."""
    job_filter = cast("dict[str, Any]", data).get("filter") if isinstance(data, dict) else None
    if isinstance(job_filter, dict):
        try:
            validate_model(cast("object", job_filter), JobFilter)
        except InvalidRequest as error:
            raise bad_field(f"filter.{error.field}", str(error)) from None
    return validate_model(cast("object", data), model)
