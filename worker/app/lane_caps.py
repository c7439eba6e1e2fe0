"""Concurrency caps for people: set, remove and list them, each change with its audit entry."""

from collections.abc import Mapping
from typing import NamedTuple

from jobs.lane_caps import EVERY_LANE, MAX_CAP, LaneCap
from jobs.lanes import Scope, parse_scope
from worker.app.action_table import CapAction
from worker.app.actions import Actor
from worker.app.enqueue import InvalidRequest
from worker.clock import Clock
from worker.store import Store
from worker.store.lane_caps import MAX_LANE_CAPS
from worker.store.side_writes import NewAuditEntry


class NoSuchCap(LookupError):
    """No operator has set a cap for that scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"no cap is set for {scope!r}: what the settings say is not removed here")


class ShownCap(NamedTuple):
    """What limits each lane of a scope."""

    scope: str
    cap: int
    """What counts now."""
    default: int | None
    """What `KNOUDS_LANE_CAPS` says for the scope; None if that is nothing."""
    record: LaneCap | None
    """What an operator set; None if the setting counts."""


class LaneCaps:
    """The caps of one namespace; `defaults` are those of the settings, by scope."""

    def __init__(self, store: Store, clock: Clock, defaults: Mapping[str, int]) -> None:
        self._store = store
        self._clock = clock
        self._defaults = defaults

    async def list_all(self) -> list[ShownCap]:
        """Every cap, by scope, also those of the settings."""
        records = {one.scope: one for one in await self._store.lane_caps.list_all()}
        return [
            self._shown(scope, records.get(scope)) for scope in sorted({*records, *self._defaults})
        ]

    async def find(self, scope: str) -> ShownCap:
        """The cap of a scope, set or of the settings; raises `NoSuchCap`."""
        for one in await self.list_all():
            if one.scope == scope:
                return one
        raise NoSuchCap(scope)

    async def set(self, scope: str, cap: int, actor: Actor) -> ShownCap:
        """Set the cap of every lane of a scope; all workers have it with their next admission.

        Lowered below what is in flight, it admits nothing until that falls. Raises
        `InvalidRequest` and `NewerRecordError`.
        """
        _require_scope(scope)
        if not 1 <= cap <= MAX_CAP:
            text = f"must be a whole number from 1 to {MAX_CAP}; to stop a scope, place a hold"
            raise InvalidRequest("cap", text)
        known = {one.scope for one in await self._store.lane_caps.list_all()}
        if scope not in known and len(known) >= MAX_LANE_CAPS:
            raise InvalidRequest("scope", f"{MAX_LANE_CAPS} caps are set: remove one first")
        record = LaneCap(
            scope=scope,
            cap=cap,
            set_at=self._clock.now(),
            set_by=actor.name,
            note=actor.note,
        )
        await self._store.lane_caps.change(scope, lambda _: record)
        await self._apply(scope)
        await self._audit(CapAction.SET_CAP, f"{scope}: {cap}", actor)
        return self._shown(scope, record)

    async def remove(self, scope: str, actor: Actor) -> ShownCap | None:
        """Remove what was set for a scope; returns what the settings say, None if that is nothing.

        Raises `NoSuchCap` and `NewerRecordError`.
        """
        was_set = False

        def removed(is_set: bool) -> None:  # noqa: FBT001  what is written instead of what is there
            nonlocal was_set
            was_set = is_set

        await self._store.lane_caps.change(scope, removed)
        if not was_set:
            raise NoSuchCap(scope)
        await self._apply(scope)
        await self._audit(CapAction.REMOVE_CAP, scope, actor)
        return self._shown(scope, None) if scope in self._defaults else None

    async def _apply(self, scope: str) -> None:
        """Let no job be admitted by what was known of caps before, and those that fit now."""
        await self._store.budgets.new_version()
        await self._store.lanes.notify(Scope(scope))

    def _shown(self, scope: str, record: LaneCap | None) -> ShownCap:
        default = self._defaults.get(scope)
        return ShownCap(scope, record.cap if record else default or MAX_CAP, default, record)

    async def _audit(self, action: CapAction, on: str, actor: Actor) -> None:
        entry = NewAuditEntry(self._clock.now(), actor.name, action, on, actor.note, 0)
        await self._store.audit.record(entry)


def _require_scope(scope: str) -> None:
    if scope == EVERY_LANE:
        return
    try:
        parse_scope(scope)
    except ValueError as error:
        raise InvalidRequest("scope", f"{error}, or {EVERY_LANE} for every lane") from None
