"""Jobs that apps enqueue with plain arq become jobs like those of the API.

Nothing that arq delivers is lost: an invalid call becomes a dead letter that says why.
"""

import re
from typing import Any, Final

import msgspec
import structlog

from jobs.batches import BatchSealed
from jobs.job import Reason
from jobs.lanes import JOB_ID, JobId
from jobs.outcomes import ProviderError
from jobs.requests import JobRequest, new_job
from jobs.states import Kind
from jobs.transitions import dead_letter
from worker.app.enqueue import Enqueuer, InvalidRequest, JobIdConflict
from worker.app.job_request_parser import parse_arq_call
from worker.clock import Clock
from worker.engine.unreadable_records import load_jobs
from worker.store import Store
from worker.store.codec import encode
from worker.store.schema import NewerRecordError

log: Final = structlog.get_logger(__name__)

INVALID_REQUEST: Final = "INVALID_REQUEST"
ACTION: Final = "Fix the call that enqueued it; discard this, or requeue it with edited inputs"

ENQUEUED_BY: Final = "arq"


class ArqIngress:
    """The `ArqIngressPort` of the arq functions."""

    def __init__(
        self, enqueuer: Enqueuer, store: Store, clock: Clock, max_inputs_bytes: int
    ) -> None:
        self._enqueuer = enqueuer
        self._store = store
        self._clock = clock
        self._max_inputs_bytes = max_inputs_bytes

    async def adopt(
        self,
        kind: Kind,
        target: object,
        inputs: object,
        arq_id: str,
        options: dict[str, Any],
    ) -> str:
        """Enqueue the job of a call, once per arq id; returns its id.

        An invalid call, or one whose id another job has, becomes a dead letter.
        """
        try:
            job_id, job_request = parse_arq_call(
                kind, target, inputs, arq_id, options, max_inputs_bytes=self._max_inputs_bytes
            )
            enqueued = await self._enqueuer.enqueue(job_request, job_id=job_id, by=ENQUEUED_BY)
        except (InvalidRequest, JobIdConflict, BatchSealed, NewerRecordError) as error:
            field = _field_of(error)
            return await self._dead_letter(kind, target, inputs, arq_id, f"{field}: {error}")
        warned = [one.code.value for one in enqueued.preview.warnings] if enqueued.preview else []
        facts = {"warnings": warned} if warned else {}
        write = log.warning if warned else log.info
        write("job.adopted", job_id=enqueued.job.id, created=enqueued.created, **facts)
        return enqueued.job.id

    async def quarantine(self, arq_id: str, payload: str, why: str) -> str:
        """Keep an unreadable entry as a dead letter, with its text in the inputs."""
        return await self._dead_letter(
            Kind.MODEL, "unreadable", {"arq_entry": payload}, arq_id, why
        )

    async def _dead_letter(
        self, kind: Kind, target: object, inputs: object, arq_id: str, why: str
    ) -> str:
        now = self._clock.now()
        text = _inputs_as_object(inputs)
        request = JobRequest(kind=kind, target=_safe_target(target), inputs=text)
        job_id = JobId(arq_id) if JOB_ID.fullmatch(arq_id) else self._clock.new_id()
        new = new_job(request, job_id, now, max_attempts=1, deadline_s=3600.0, by=ENQUEUED_BY)
        reason = Reason(code=INVALID_REQUEST, message=why, action=ACTION)
        dead = dead_letter(new, now, ProviderError(INVALID_REQUEST, why), reason)
        if await self._store.jobs.create(dead, text) is None:
            (stored,) = await load_jobs(self._store.jobs, [job_id], now)
            if stored is None or stored.job.fingerprint != dead.fingerprint:
                another = msgspec.structs.replace(dead, id=self._clock.new_id())
                await self._store.jobs.create(another, text)
                dead = another
        log.warning("job.rejected", job_id=dead.id, why=why)
        return dead.id


def _field_of(error: Exception) -> str:
    """The field of a call that is wrong."""
    if isinstance(error, InvalidRequest):
        return error.field
    return "batch" if isinstance(error, BatchSealed) else "id"


def _inputs_as_object(inputs: object) -> bytes:
    """The inputs as a JSON object; anything else is wrapped in one."""
    try:
        text = encode(inputs)
    except (TypeError, ValueError, UnicodeError):
        text = encode(repr(inputs)[:10_000])
    return text if text.startswith(b"{") else b'{"inputs":' + text + b"}"


def _safe_target(target: object) -> str:
    """A name that is valid in a key, made of any target."""
    return re.sub(r"[^a-z0-9]+", "-", str(target).lower()).strip("-")[:64] or "unreadable"
