"""What the provider's rate-limit headers say: shown to people, and heeded before a 429 comes."""

from typing import Final

from jobs.holds import CoolDown
from jobs.lanes import Scope
from worker.clock import Clock
from worker.engine.bells import Bell
from worker.provider.answers import QuotaSeen as Headers
from worker.store.fleet import Fleet, QuotaSeen
from worker.store.gates import GateStore

RESERVE: Final = 5
"""The provider advises to wait for the reset when fewer requests than this remain."""

WRITE_S: Final = 1.0
"""How often what was seen is written."""


class QuotaWatch:
    """Notes the latest headers of each route; a route that is nearly spent waits for its reset."""

    name = "quota"

    def __init__(self, fleet: Fleet, gates: GateStore, clock: Clock) -> None:
        self._fleet = fleet
        self._gates = gates
        self._clock = clock
        self._seen: dict[str, QuotaSeen] = {}
        self.bell = Bell()

    def saw(self, account: str, route: Scope, headers: Headers) -> None:
        """Take what an answer's headers said; written by the next tick."""
        del account
        self._seen[route] = QuotaSeen(
            limit=headers.limit,
            remaining=headers.remaining,
            reset_at=headers.reset_at,
            seen_at=self._clock.now(),
        )
        if _nearly_spent(self._seen[route]):
            self.bell.ring()

    async def tick(self, now: float) -> float:
        """Write what was seen since the last tick."""
        seen, self._seen = self._seen, {}
        for route, quota in seen.items():
            if _nearly_spent(quota) and quota.reset_at is not None and quota.reset_at > now:
                await self._gates.cool(CoolDown(Scope(route), quota.reset_at, "quota"))
            await self._fleet.saw_quota(route, quota)
        return WRITE_S


def _nearly_spent(quota: QuotaSeen) -> bool:
    return quota.remaining is not None and quota.remaining < RESERVE
