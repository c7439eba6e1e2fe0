"""Erases what is kept of the payloads of jobs beside their records."""

from collections.abc import Sequence

import msgspec

from jobs.holds import Hold
from jobs.job import Job
from worker.engine.callback_retention import erase_in_callbacks
from worker.store import Store


async def erase_remains(store: Store, jobs: Sequence[Job]) -> None:
    """Erase the bodies of their deliveries, what arq holds, and messages that others copied."""
    if not jobs:
        return
    runs = {job.execution_id for job in jobs}
    runs |= {attempt.execution_id for job in jobs for attempt in job.attempts}
    await store.webhooks.erase_bodies([run for run in runs if run is not None])
    await store.payloads.delete_arq_entries([job.id for job in jobs])
    await erase_in_callbacks(store.callbacks, jobs)
    await _erase_in_holds(store, jobs)


async def _erase_in_holds(store: Store, jobs: Sequence[Job]) -> None:
    """Erase their messages in the holds that they placed, which may quote inputs."""
    texts = {attempt.message for job in jobs for attempt in job.attempts}
    texts |= {job.reason.message for job in jobs if job.reason is not None}
    for hold in await store.holds.list_all():  # breakers keep no messages
        if hold.message and hold.message in texts:
            await store.holds.change(hold.key, _without_message)


def _without_message(hold: Hold | None) -> Hold | None:
    return None if hold is None else msgspec.structs.replace(hold, message="")
