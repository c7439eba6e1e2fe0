"""Sends the callbacks that transitions have written to the outbox, at least once each.

A claim is a lease that is longer than a request may take: what a dead worker had claimed is due
again, and the receiver knows a duplicate by its id. Callbacks do not wait for each other: one that
fails comes again later, and the sequence number tells the receiver which is newer.
"""

import asyncio
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from jobs.callback_breaker import after_host_failure
from jobs.callbacks import (
    Callback,
    CallbackFailure,
    CallbackState,
    after_delivery,
    after_failure,
)
from worker.clock import Clock
from worker.engine.callbacks.host_slots import HostSlots
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.store.callback_outbox import is_tight
from worker.store.callbacks import HostClaim, StoredCallback
from worker.store.refusals import error_word
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

IDLE_TICK_S: Final = 5.0
"""Longest pause between two looks: a wake-up may get lost."""

MAX_HOSTS: Final = 100
"""Hosts of one look."""

LEASE_MARGIN_S: Final = 5.0
"""How much longer a claim lasts than a request may take."""

STOP_WITHIN_S: Final = 5.0
"""How long the end of a worker waits for its requests."""

MAX_AMENDS: Final = 5


class CallbackPost(Protocol):
    """Sends one callback, see `worker.engine.callbacks.poster`."""

    timeout_s: float

    async def post(self, callback: Callback, body: bytes, now: float) -> int | CallbackFailure:
        """Send it; returns the status of a receiver that took it, or what went wrong."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class CallbackBodies(Protocol):
    """Writes the bodies of callbacks."""

    async def body(self, callback: Callback) -> bytes:
        """The body (JSON), the same for every try as far as what it reads is still there."""
        ...


class CallbackSender:
    """Sends callbacks of one namespace, with all other workers."""

    name = "callback_sender"

    def __init__(self, context: WorkerContext, post: CallbackPost, bodies: CallbackBodies) -> None:
        self._store = context.store.callbacks
        self._metrics = context.store.metrics.buffer
        self._clock: Clock = context.clock
        self._post = post
        self._bodies = bodies
        self._slots = HostSlots()
        self._tasks: set[asyncio.Task[None]] = set()
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Claim what is due and begin to send it; returns the seconds until the next look."""
        due, next_at = await self._store.due_hosts(now, MAX_HOSTS + self._slots.total)
        if due:
            await self._store.read_use()
        for host in due:
            if room := self._slots.free(host):
                await self._claim(host, now, room)
        return IDLE_TICK_S if next_at is None else min(IDLE_TICK_S, max(0.0, next_at - now))

    async def stop(self) -> None:
        """Wait a moment for the requests under way, then end them: their claims come due again."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WITHIN_S)
        await cancel_and_wait(*self._tasks)
        await self._post.close()

    async def _claim(self, host: str, now: float, room: int) -> None:
        lease_until = now + self._post.timeout_s + LEASE_MARGIN_S
        claim = await self._store.claim(host, now, lease_until, room)
        found = await self._store.read(claim.ids) if claim.ids else []
        for callback_id, stored in zip(claim.ids, found, strict=True):
            if stored is None:
                await self._drop(host, callback_id)
                continue
            if stored.callback.state is not CallbackState.PENDING:
                await self._store.drop_claim(host, callback_id)
                continue
            self._slots.take(host)
            task = asyncio.create_task(self._send(stored, claim), name=f"callback {callback_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drop(self, host: str, callback_id: str) -> None:
        """Take an id out of the queue whose callback is gone; one of a newer version stays."""
        if await self._store.missing([callback_id]):
            await self._store.drop_claim(host, callback_id)
        else:
            log.warning("callback.unreadable", id=callback_id, host=host)

    async def _send(self, stored: StoredCallback, claim: HostClaim) -> None:
        host = stored.callback.host
        try:
            outcome = await self._outcome(stored.callback)
            await self._note_host(host, claim, outcome)
            await self._record(stored, outcome)
        except (RedisError, OSError) as error:  # its lease ends, and it is sent again
            log.warning("callback.interrupted", id=stored.callback.id, error=error_word(error))
        finally:
            self._slots.give_back(host)
            self.wakeup.notify()

    async def _outcome(self, callback: Callback) -> int | CallbackFailure:
        try:
            body = await self._bodies.body(callback)
            return await self._post.post(callback, body, self._clock.now())
        except (RedisError, OSError):
            raise
        except Exception as error:
            log.error("callback.error", id=callback.id, exc_info=error)  # noqa: TRY400
            return CallbackFailure(f"it could not be written ({type(error).__name__})")

    async def _record(self, stored: StoredCallback, outcome: int | CallbackFailure) -> None:
        """Write what became of a try over what has become of the callback meanwhile."""
        now, jitter = self._clock.now(), self._clock.jitter()
        current: StoredCallback | None = stored
        for _ in range(MAX_AMENDS):
            if current is None or current.callback.state is CallbackState.DELIVERED:
                return
            if isinstance(outcome, CallbackFailure):
                new = after_failure(current.callback, now, jitter, outcome)
            else:
                new = after_delivery(current.callback, now, outcome)
            if await self._write(current, new):
                self._note(new, now)
                return
            current = await self._store.find(new.id)

    async def _write(self, current: StoredCallback, new: Callback) -> bool:
        if new.state is CallbackState.DELIVERED and is_tight(self._store.outbox):
            return await self._store.delete(current)
        return await self._store.amend(current, new)

    def _note(self, new: Callback, now: float) -> None:
        result = "retried" if new.state is CallbackState.PENDING else new.state.value
        self._metrics.callback_sent(result)
        facts = {"id": new.id, "type": new.type.value, "host": new.host, "tries": new.tries}
        facts[new.subject.value] = new.subject_id
        match new.state:
            case CallbackState.DELIVERED:
                self._metrics.callback_delivered(now - new.created_at)
                log.debug("callback.delivered", **facts)
            case CallbackState.PENDING:
                log.info("callback.retried", error=new.error, **facts)
            case CallbackState.FAILED:
                log.warning("callback.failed", error=new.error, **facts)

    async def _note_host(self, host: str, claim: HostClaim, outcome: int | CallbackFailure) -> None:
        """Trip, keep open or close the breaker of a host, after the outcome of a try."""
        now = self._clock.now()
        if not (isinstance(outcome, CallbackFailure) and outcome.is_host_down):
            self._slots.count_up(host)
            if claim.breaker_data and await self._store.set_breaker(host, claim.breaker_data, None):
                log.info("callback_host.recovered", host=host)
                await self._store.make_host_due(host, now)
            return
        failures = self._slots.count_down(host)
        breaker = after_host_failure(claim.breaker, failures, now, outcome.error)
        if breaker is not None and await self._store.set_breaker(host, claim.breaker_data, breaker):
            if claim.breaker is None:
                log.warning("callback_host.down", host=host, error=outcome.error)
            else:
                await self._store.make_host_due(host, breaker.until)
