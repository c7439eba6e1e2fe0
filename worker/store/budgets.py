"""Budgets: one hash, each field a name with `<generation> <record as JSON>`; and what is used.

The generation stands before the record, so that it is known of one that cannot be read. The field
without a name is the version of all: `commit.lua` compares it when a job is admitted.
"""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfoNotFoundError

from jobs.budgets.periods import TOTAL_KEY, Window, window_at
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.budgets.room import ANY_SCOPE, BudgetStatus
from jobs.budgets.use import BudgetPart, BudgetUse
from jobs.credits.charges import KEPT_S
from jobs.indexes import Index
from jobs.lanes import Lane
from jobs.newer import NEWER_SCHEMA
from jobs.unreadable import UNREADABLE
from worker.store.client import Client, texts
from worker.store.codec import DECODE_ERRORS, encode_unique, without_mark
from worker.store.keys import Keys
from worker.store.leases import claim_lease
from worker.store.preconditions import BudgetCheck
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.scripts import Scripts
from worker.store.unreadable_gates import log_unreadable

_budget: Final = RecordSchema(Budget, UNCHANGED)

VERSION: Final = ""
"""The field of the version: no budget has this name."""

FOR_EVER: Final = 2**53
"""End of a total, Unix seconds."""

MAX_BUDGETS: Final = 1_000
"""Budgets of a namespace: every worker reads them all, each second."""


class BudgetSet(NamedTuple):
    """The budgets at one moment."""

    version: int
    """Another one after each change of any of them."""
    budgets: list[Budget]


class BudgetStore:
    """The budgets of one namespace, shared by every worker."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts) -> None:
        self._client = client
        self._keys = keys
        self._scripts = scripts

    async def list_all(self) -> list[Budget]:
        """Every budget, by name. One that cannot be read stops every job of its scope."""
        return (await self.read()).budgets

    async def read(self) -> BudgetSet:
        """Every budget, and the version of all."""
        found: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.budgets)
        version = found.pop(VERSION.encode(), b"0")
        return BudgetSet(
            int(version) if version.isdigit() else 0,
            sorted(
                (_decode(name.decode("utf-8", "replace"), data) for name, data in found.items()),
                key=lambda one: one.name,
            ),
        )

    async def new_version(self) -> None:
        """Let no job be admitted by what was read of budgets before."""
        await self._client.call("HINCRBY", self._keys.budgets, VERSION, 1)

    async def find(self, name: str) -> Budget | None:
        """One budget."""
        data: bytes | None = await self._client.call("HGET", self._keys.budgets, name)
        return None if data is None else _decode(name, data)

    async def change(
        self, name: str, transform: Callable[[Budget | None], Budget | None]
    ) -> Budget | None:
        """Write what `transform` makes of a budget (None: there is none); returns it.

        It may be called again after a lost race. Raises RuntimeError after too many of them.
        """
        changed = await self._scripts.update_field(
            self._keys.budgets,
            name,
            decode=lambda data: _decode(name, data) if data else None,
            transform=transform,
            encode=lambda one: b"" if one is None else _encode(one),
        )
        await self.new_version()
        return changed

    async def statuses(self, now: float) -> list[BudgetStatus]:
        """Every budget with what is used of its present period; `now` in Unix seconds."""
        return await self.with_use(await self.list_all(), now)

    async def with_use(self, budgets: Sequence[Budget], now: float) -> list[BudgetStatus]:
        """What is used of the present period of some budgets."""
        if not budgets:
            return []
        windows = [_window(one, now) for one in budgets]
        rows = await self._client.many(
            [
                ("HMGET", self._use_key(one, window), *BudgetPart)
                for one, window in zip(budgets, windows, strict=True)
            ]
        )
        return [
            BudgetStatus(one, window, BudgetUse(*map(_amount, row)))
            for one, window, row in zip(budgets, windows, rows, strict=True)
        ]

    async def unpriced_lanes(self, lanes: Collection[Lane], since: float) -> set[Lane]:
        """The lanes in which an attempt of unknown cost has ended since a time (Unix seconds)."""
        asked = list(lanes)
        counts = await self._client.many(
            [
                ("ZCOUNT", self._keys.index(Index.UNPRICED, str(lane)), since, "+inf")
                for lane in asked
            ]
        )
        return {lane for lane, count in zip(asked, counts, strict=True) if count}

    async def let_expire(self, budget: Budget, now: float) -> None:
        """Let what was used of a budget expire that is no more, or starts anew."""
        await self._client.call("EXPIRE", self._use_key(budget, _window(budget, now)), KEPT_S)

    # The jobs that wait for a budget of a tag or batch.

    async def waited_for(self) -> list[str]:
        """The names of the budgets that queued jobs wait for, some perhaps without any job."""
        return texts(await self._client.call("ZRANGE", self._keys.budget_waits, 0, -1))

    async def waiting_counts(self, names: Sequence[str]) -> list[int]:
        """How many jobs wait for each budget."""
        keys = [self._keys.index(Index.BUDGET, name) for name in names]
        return await self._client.many([("ZCARD", key) for key in keys])

    async def position(self, name: str, job_id: str) -> int | None:
        """How many jobs are ahead of this one among those that wait; None if it does not."""
        key = self._keys.index(Index.BUDGET, name)
        rank: int | None = await self._client.call("ZRANK", key, job_id)
        return rank

    async def retire(self, name: str) -> bool:
        """Take a budget off the register of those that are waited for, if no job does."""
        key = self._keys.index(Index.BUDGET, name)
        return await self._scripts.retire(self._keys.budget_waits, name, [key])

    async def claim(self, worker_id: str, lease_s: float) -> bool:
        """Whether this worker keeps the budgets for the next seconds."""
        return await claim_lease(self._client, self._keys.budget_lease, worker_id, lease_s)

    def _use_key(self, budget: Budget, window: Window) -> str:
        return self._keys.budget_use(budget.name, budget.generation, window.key)


def budget_check(status: BudgetStatus, amount: int) -> BudgetCheck:
    """The precondition that a budget has room for an amount, in millionths of a credit."""
    budget, window = status.budget, status.window
    return BudgetCheck(
        budget=budget.name,
        generation=budget.generation,
        period=window.key,
        limit=budget.limit_micro,
        amount=amount,
        start=int(max(0.0, window.start)),
        end=int(min(float(FOR_EVER), window.end)),
    )


def _window(budget: Budget, now: float) -> Window:
    try:
        return window_at(budget.period, budget.time_zone, now)
    except (ZoneInfoNotFoundError, ValueError):
        return Window(TOTAL_KEY, 0.0, 0.0)


def _amount(text: bytes | None) -> int:
    """A stored amount; one that cannot be read counts as more than any limit."""
    try:
        return int(text or 0)
    except ValueError:
        return FOR_EVER


def _encode(budget: Budget) -> bytes:
    return b"%d %s" % (budget.generation, encode_unique(budget))


def _decode(name: str, data: bytes) -> Budget:
    try:
        found = _budget.decode(without_mark(data.partition(b" ")[2]))
        window_at(found.period, found.time_zone, found.set_at)
    except NewerSchema as newer:
        shown = _budget.shown(newer)
        why = f"{NEWER_SCHEMA}: {newer}"
        return _unreadable(name, data, why, shown.scope if shown else ANY_SCOPE)
    except (*DECODE_ERRORS, ZoneInfoNotFoundError) as error:
        why = log_unreadable("budget", name, error, "it stops every job until it is set anew")
        return _unreadable(name, data, f"{UNREADABLE}: {why}", ANY_SCOPE)
    return found


def _unreadable(name: str, data: bytes, why: str, scope: str) -> Budget:
    digits = re.match(rb"[0-9]+", data)
    return Budget(
        name=name,
        scope=scope,
        period=BudgetPeriod.TOTAL,
        limit=0.0,
        generation=int(digits[0]) if digits else 0,
        set_at=0.0,
        set_by="",
        error=why,
    )
