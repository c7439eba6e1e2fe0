"""Holds, breakers and caps that this version cannot read: their effect, and what ends it."""

from collections.abc import Iterable
from typing import Final

from jobs.breakers import Breaker, BreakerState
from jobs.holds import Hold, target_holds_by_owner
from jobs.newer import ACTION_NEWER, is_newer_gate
from jobs.tenants import tenant_of
from jobs.unreadable import UNREADABLE
from jobs.unreadable_holds import is_unreadable_hold
from worker.doctor.findings import Finding, fail, warn
from worker.store import Store
from worker.store.holds import MAX_HOLDS, MAX_HOLDS_OF_OWNER

HOLDS: Final = "gates.holds"
BREAKERS: Final = "gates.breakers"
CAPS: Final = "gates.caps"
CAPS_FIX: Final = "set it anew, or remove it: knouds-worker caps rm"


async def check_gates(store: Store) -> list[Finding]:
    """Read the holds and breakers; raises `redis.exceptions.RedisError`."""
    holds, breakers = await store.holds.list_all(), await store.breakers.list_all()
    caps = [
        warn(CAPS, f"the cap of {scope} cannot be read: the settings apply", f"{CAPS_FIX} {scope}")
        for scope in await store.lane_caps.unreadable()
    ]
    return judge_gates(holds, breakers) + caps


def judge_gates(holds: Iterable[Hold], breakers: Iterable[Breaker]) -> list[Finding]:
    """A finding for each hold and breaker that cannot be read; none for the others."""
    found: list[Finding] = []
    holds = list(holds)
    if len(holds) >= MAX_HOLDS:
        text = f"{len(holds)} holds stand: no target gets one of its own, and nothing is enqueued"
        fix = "release those whose cause is gone: knouds-worker holds ls, holds release"
        found.append(fail(HOLDS, f"{text} for targets without queued jobs", fix))
    for owner, count in target_holds_by_owner(holds).items():
        if count >= MAX_HOLDS_OF_OWNER:
            tenant = tenant_of(owner)
            whose = f"tenant {tenant}" if tenant else owner or "an unknown token"
            text = f"{count} targets are on hold after jobs of {whose}: no further one gets a hold"
            fix = "find out why it names targets that the provider refuses; knouds-worker holds ls"
            found.append(warn(HOLDS, f"{text}, and none is enqueued for it", fix))
    for hold in holds:
        if is_unreadable_hold(hold):
            text = f"the hold {hold.key} stops its scope, and {hold.message}"
            fix = "find out why the scope was stopped, then knouds-worker holds release"
            found.append(fail(HOLDS, text, f"{fix} {hold.id}"))
        elif is_newer_gate(hold):
            text = f"the hold {hold.key} stops its scope: it was {hold.message}"
            found.append(warn(HOLDS, text, ACTION_NEWER))
    for breaker in breakers:
        error = breaker.error
        if error is not None and error.code == UNREADABLE:
            text = f"the record of the breaker {breaker.key} cannot be read ({error.message})"
            fix = "nothing: the next failure or probe writes it anew"
            found.append(warn(BREAKERS, f"{text}: it counts as closed", fix))
        elif error is not None and is_newer_gate(breaker):
            is_closed = breaker.state is BreakerState.CLOSED
            effect = "is closed, and counts no outcomes" if is_closed else "stops its scope"
            text = f"the breaker {breaker.key} {effect}: it was {error.message}"
            found.append(warn(BREAKERS, text, ACTION_NEWER))
    return found
