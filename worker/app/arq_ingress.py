"""Adoption: jobs that apps enqueued with plain arq come onto the same road as every other.

Nothing that arq hands over is lost: what is not a proper order becomes a dead letter that says why.
"""

import re
from typing import Any, Final

import msgspec
import structlog

from jobs.job import Reason
from jobs.lanes import JOB_ID, JobId
from jobs.outcomes import ProviderError
from jobs.requests import JobRequest, new_job
from jobs.states import Kind
from jobs.transitions import dead_letter
from worker.app.enqueue import Enqueuer, InvalidRequest, JobIdConflict
from worker.app.job_request_parser import parse_arq_call
from worker.clock import Clock
from worker.engine.unreadable_records import load_job
from worker.store import Store
from worker.store.codec import encode

log: Final = structlog.get_logger(__name__)

INVALID_REQUEST: Final = "INVALID_ORDER"
ACTION: Final = "Fix the call that enqueued it; discard this, or requeue it with edited inputs"

ENQUEUED_BY: Final = "arq"


class ArqIngress:
    """The `Intake` port of the arq functions."""

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
        """Make a job of the call, once per arq id."""
        try:
            job_id, order = parse_arq_call(
                kind, target, inputs, arq_id, options, max_inputs_bytes=self._max_inputs_bytes
            )
            placed = await self._enqueuer.enqueue(order, job_id=job_id, by=ENQUEUED_BY)
        except (InvalidRequest, JobIdConflict) as error:
            field = error.field if isinstance(error, InvalidRequest) else "id"
            return await self._dead_letter(kind, target, inputs, arq_id, f"{field}: {error}")
        log.info("job.adopted", job_id=placed.job.id, created=placed.created)
        return placed.job.id

    async def quarantine(self, arq_id: str, payload: str, why: str) -> str:
        """Keep an unreadable entry as a dead letter; its text stands in the inputs."""
        return await self._dead_letter(
            Kind.MODEL, "unreadable", {"arq_entry": payload}, arq_id, why
        )

    async def _dead_letter(
        self, kind: Kind, target: object, inputs: object, arq_id: str, why: str
    ) -> str:
        now = self._clock.now()
        text = _inputs_as_object(inputs)
        order = JobRequest(kind=kind, target=_safe_target(target), inputs=text)
        wanted = JobId(arq_id) if JOB_ID.fullmatch(arq_id) else self._clock.new_id()
        fresh = new_job(order, wanted, now, max_attempts=1, deadline_s=3600.0, by=ENQUEUED_BY)
        reason = Reason(code=INVALID_REQUEST, message=why, action=ACTION)
        dead = dead_letter(fresh, now, ProviderError(INVALID_REQUEST, why), reason)
        if await self._store.jobs.create(dead, text) is None:
            stored = await load_job(self._store.jobs, wanted, now)
            if stored is None or stored.job.fingerprint != dead.fingerprint:
                another = msgspec.structs.replace(dead, id=self._clock.new_id())
                await self._store.jobs.create(another, text)
                dead = another
        log.warning("job.rejected", job_id=dead.id, why=why)
        return dead.id


def _inputs_as_object(inputs: object) -> bytes:
    """The inputs as a JSON object, whatever was given."""
    try:
        text = encode(inputs)
    except (TypeError, ValueError, UnicodeError):
        text = encode(repr(inputs)[:10_000])
    return text if text.startswith(b"{") else b'{"inputs":' + text + b"}"


def _safe_target(target: object) -> str:
    """A target's name that can stand in a key, whatever was given."""
    return re.sub(r"[^a-z0-9]+", "-", str(target).lower()).strip("-")[:64] or "unreadable"
