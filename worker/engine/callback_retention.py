"""What becomes of callbacks with time, and when the payloads of their jobs are erased."""

from collections.abc import Sequence
from typing import Final

import msgspec

from jobs.callbacks import (
    GIVE_UP_AFTER_S,
    Callback,
    CallbackFailure,
    CallbackState,
    after_failure,
)
from jobs.job import Job
from jobs.transitions import without_texts
from worker.store.callback_outbox import is_tight
from worker.store.callbacks import CallbackStore
from worker.store.codec import decode_job, encode
from worker.store.metrics.buffer import MetricsBuffer

DELIVERED_KEPT_S: Final = 86_400.0
"""How long a delivered callback is kept, so that it can be sent again."""

UNSENT_MARGIN_S: Final = 86_400.0
"""So long after its three days a callback that no worker has tried is failed."""

BATCH: Final = 500

NOT_SENT: Final = CallbackFailure(
    "no worker sends callbacks: set KNOUDS_CALLBACK_HOSTS and KNOUDS_CALLBACK_SECRET for workers",
    is_final=True,
)


async def prune_callbacks(
    store: CallbackStore, metrics: MetricsBuffer, now: float, retention_s: float
) -> bool:
    """Delete a batch of old callbacks, and fail those that nobody sends; whether there are more.

    Delivered ones go first where the outbox is more than half full.
    """
    delivered_s = min(DELIVERED_KEPT_S, retention_s)
    await store.read_use()
    if is_tight(store.outbox):
        delivered_s = 0.0
    is_full = False
    for state, kept_s in (
        (CallbackState.DELIVERED, delivered_s),
        (CallbackState.FAILED, retention_s),
    ):
        old = await store.older_than(state, now - kept_s, BATCH)
        for stored in old:
            await store.delete(stored)
        is_full = is_full or len(old) == BATCH
    unsent = now - GIVE_UP_AFTER_S - UNSENT_MARGIN_S
    for stored in await store.older_than(CallbackState.PENDING, unsent, BATCH):
        if await store.amend(stored, after_failure(stored.callback, now, 0.0, NOT_SENT)):
            metrics.callback_sent(CallbackState.FAILED.value)
    return is_full


async def erase_in_callbacks(store: CallbackStore, jobs: Sequence[Job]) -> None:
    """Erase the texts of the provider in the callbacks of jobs: their results are not kept there.

    One that is being sent is erased in its next version.
    """
    ids = [job.id for job in jobs if job.callback_url is not None]
    for stored in await store.stored_of_jobs(ids) if ids else ():
        current = stored
        while not await store.amend(current, _without_texts(current.callback)):
            found = await store.find(current.callback.id)
            if found is None:
                break
            current = found


def _without_texts(callback: Callback) -> Callback:
    job = without_texts(decode_job(bytes(callback.record)))
    return msgspec.structs.replace(callback, record=msgspec.Raw(encode(job)))
