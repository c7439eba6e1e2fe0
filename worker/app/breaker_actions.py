"""What an operator can do to a breaker, each with its audit entry."""

from collections.abc import Callable

from jobs.breakers import Breaker, apply_probe_now, apply_reset
from jobs.newer import is_newer_gate
from worker.app.action_table import BreakerAction
from worker.app.actions import Actor
from worker.clock import Clock
from worker.store import Store
from worker.store.schema import NewerRecordError
from worker.store.side_writes import NewAuditEntry


class NoSuchBreaker(LookupError):
    """There is no breaker with this id."""


class BreakerActions:
    """Probes and resets breakers."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def probe(self, breaker_id: str, actor: Actor) -> Breaker:
        """Make the next probe due now, its first canary, and jobs whose next try is postponed.

        Raises `NoSuchBreaker`.
        """
        return await self._act(
            breaker_id, actor, BreakerAction.PROBE_BREAKER, lambda b: apply_probe_now(b, self._now)
        )

    async def reset(self, breaker_id: str, actor: Actor) -> Breaker:
        """Close a breaker, and forget its failures and pauses. Raises `NoSuchBreaker`."""
        return await self._act(
            breaker_id, actor, BreakerAction.RESET_BREAKER, lambda b: apply_reset(b, self._now)
        )

    @property
    def _now(self) -> float:
        return self._clock.now()

    async def _act(
        self,
        breaker_id: str,
        actor: Actor,
        action: BreakerAction,
        transform: Callable[[Breaker], Breaker],
    ) -> Breaker:
        found = await self._store.breakers.find(breaker_id)
        if found is None:
            raise NoSuchBreaker(f"there is no breaker {breaker_id}")
        if is_newer_gate(found) and found.error is not None:
            raise NewerRecordError("the breaker", found.key, found.error.message)
        change = await self._store.breakers.change(found.key, transform)
        await self._store.audit.record(
            NewAuditEntry(
                at=self._now,
                by=actor.name,
                action=action,
                on=found.scope,
                note=actor.note,
                jobs=0,
            )
        )
        return change.after
