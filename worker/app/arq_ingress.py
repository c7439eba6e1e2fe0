"""Adoption: jobs that apps enqueued with plain arq come onto the same road as every other.

Nothing that arq hands over is lost: what is not a proper order becomes a dead letter that says why.
"""

import re
from typing import Any, Final

import msgspec
import structlog

from jobs.job import Reason
from jobs.lanes import JOB_ID, JobId
from jobs.outcomes import Fault
from jobs.requests import Order, new_job
from jobs.states import Kind
from jobs.transitions import bury
from worker.app.enqueue import BadOrder, Conflict, Intake
from worker.app.job_request_parser import parse_options
from worker.clock import Clock
from worker.store import Store
from worker.store.codec import encode

log: Final = structlog.get_logger(__name__)

INVALID: Final = "INVALID_ORDER"
ACTION: Final = "Fix the call that enqueued it; discard this, or requeue it with edited inputs"

BY: Final = "arq"


class Adoption:
    """The `Intake` port of the arq functions."""

    def __init__(self, intake: Intake, store: Store, clock: Clock, max_inputs_bytes: int) -> None:
        self._intake = intake
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
            job_id, order = parse_options(
                kind, target, inputs, arq_id, options, max_inputs_bytes=self._max_inputs_bytes
            )
            placed = await self._intake.enqueue(order, job_id=job_id, by=BY)
        except (BadOrder, Conflict) as error:
            field = error.field if isinstance(error, BadOrder) else "id"
            return await self._bury(kind, target, inputs, arq_id, f"{field}: {error}")
        log.info("job.adopted", job_id=placed.job.id, created=placed.created)
        return placed.job.id

    async def quarantine(self, arq_id: str, payload: str, why: str) -> str:
        """Keep an unreadable entry as a dead letter; its text stands in the inputs."""
        return await self._bury(Kind.MODEL, "unreadable", {"arq_entry": payload}, arq_id, why)

    async def _bury(self, kind: Kind, target: object, inputs: object, arq_id: str, why: str) -> str:
        now = self._clock.now()
        text = _kept(inputs)
        order = Order(kind=kind, target=_name(target), inputs=text)
        wanted = JobId(arq_id) if JOB_ID.fullmatch(arq_id) else self._clock.new_id()
        fresh = new_job(order, wanted, now, max_attempts=1, deadline_s=3600.0, by=BY)
        reason = Reason(code=INVALID, message=why, action=ACTION)
        dead = bury(fresh, now, Fault(INVALID, why), reason)
        if await self._store.jobs.create(dead, text) is None:
            stored = await self._store.jobs.load(wanted)
            if stored is None or stored.job.fingerprint != dead.fingerprint:
                another = msgspec.structs.replace(dead, id=self._clock.new_id())
                await self._store.jobs.create(another, text)
                dead = another
        log.warning("job.refused", job_id=dead.id, why=why)
        return dead.id


def _kept(inputs: object) -> bytes:
    """The inputs as a JSON object, whatever was given."""
    try:
        text = encode(inputs)
    except (TypeError, ValueError, UnicodeError):
        text = encode(repr(inputs)[:10_000])
    return text if text.startswith(b"{") else b'{"inputs":' + text + b"}"


def _name(target: object) -> str:
    """A target's name that can stand in a key, whatever was given."""
    return re.sub(r"[^a-z0-9]+", "-", str(target).lower()).strip("-")[:64] or "unreadable"
