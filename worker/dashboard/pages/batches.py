"""Batches: progress, cost and failures of each, and what can be done to one."""

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from jobs.batches import BatchState
from jobs.states import State
from worker.app.action_table import ACTION_TABLE, BatchAction
from worker.app.batches import BatchActionResult, NoSuchBatch
from worker.dashboard.page_request import PageRequest
from worker.dashboard.views.formatting import count
from worker.store.batch import Batch

PAGE: Final = "/batches"
PAGE_SIZE: Final = 20
IN_PROGRESS_STATES: Final = (
    State.SCHEDULED,
    State.WAITING,
    State.QUEUED,
    State.SUBMITTING,
    State.RUNNING,
    State.RETRYING,
    State.CANCELLING,
)
PROGRESS_ORDER: Final = (
    State.SUCCEEDED,
    *IN_PROGRESS_STATES,
    State.PARKED,
    State.DEAD,
    State.CANCELLED,
)
"""States of a progress bar in order, from succeeded to cancelled."""

LABELS: Final = {
    BatchAction.SEAL: "Seal",
    BatchAction.REQUEUE_FAILED: "Requeue dead letters",
    BatchAction.CANCEL: "Cancel",
}


async def batches_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the batches, the most recently used first; `name` selects one."""
    query, batches = page_request.request.query, page_request.context.use_cases.batches
    name = query.get("name", "").strip()
    if name:
        batch = await batches.find(name)
        failures = await batches.failures(name)
        return await page_request.render(
            "batch.html",
            batch=batch,
            failures=failures,
            progress_order=PROGRESS_ORDER,
            in_progress=IN_PROGRESS_STATES,
            actions=[(one, ACTION_TABLE[one], LABELS[one]) for one in _possible_actions(batch)],
        )
    text = query.get("from", "0")
    first = int(text[:9]) if text.isdecimal() and text.isascii() else 0
    found, following = await batches.page("", first, PAGE_SIZE)
    return await page_request.render(
        "batches.html",
        batches=found,
        first=first,
        more=following,
        progress_order=PROGRESS_ORDER,
        in_progress=IN_PROGRESS_STATES,
    )


def _possible_actions(batch: Batch) -> list[BatchAction]:
    is_open = batch.state is BatchState.OPEN
    found = [BatchAction.SEAL] if is_open else []
    found += [BatchAction.REQUEUE_FAILED] if batch.of(State.DEAD) else []
    found += [BatchAction.CANCEL] if is_open or batch.of(*IN_PROGRESS_STATES) else []
    return found


async def act_on_batch(page_request: PageRequest) -> web.StreamResponse:
    """Seal or cancel a batch, or requeue its dead letters."""
    form = await page_request.form()
    name, actor = form.get("name", "").strip(), await page_request.actor()
    batches = page_request.context.use_cases.batches
    match form.get("action"):
        case BatchAction.SEAL:
            await batches.seal(name, actor, is_operator=True)
            text = f"Sealed {name}: no more jobs may join it"
        case BatchAction.CANCEL:
            text = f"Cancelled {name}: {_jobs_text(await batches.cancel(name, actor))}"
        case BatchAction.REQUEUE_FAILED:
            text = f"{name}: requeued {_jobs_text(await batches.requeue_failed(name, actor))}"
        case _:
            raise NoSuchBatch(name)
    return await page_request.redirect_back(text, path=f"{PAGE}?{urlencode({'name': name})}")


def _jobs_text(found: BatchActionResult) -> str:
    failed = found.counts.failed
    return count(found.counts.done, "job") + (f", {failed} failed" if failed else "")
