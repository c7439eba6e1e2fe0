"""What an operator should know of credits: budgets that are nearly used up or closed, low balances.

It shows what workers have marked (`worker.store.warnings`), as it is now. Where nothing is marked
it is one command.
"""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

from jobs.budgets.state import BudgetState
from jobs.budgets.texts import action_text, use_text
from jobs.budgets.warnings import NEAR_PERCENT, BudgetLevel, BudgetMark, percent_used
from jobs.credits.low_balance import BalanceCause, BalanceMark
from jobs.texts import pluralize
from worker.app.budgets import Budgets, ShownBudget
from worker.clock import Clock
from worker.store import Store
from worker.store.warnings import StoredMark

CHECKED_S: Final = 180.0
"""A balance that no worker found low for so long is not shown as low."""

ACTION_NEAR: Final = "Raise the limit before jobs wait, or let it close at 100 %"


class CreditWarningCause(StrEnum):
    """What a warning is about."""

    BUDGET_NEAR = "budget_near"
    BUDGET_CLOSED = "budget_closed"
    BUDGET_UNREADABLE = "budget_unreadable"
    BALANCE_LOW = "balance_low"


class CreditWarning(NamedTuple):
    """One line for an operator."""

    cause: CreditWarningCause
    name: str
    """Of the budget, or the account."""
    headline: str
    """A few words."""
    text: str
    action: str
    """What to do."""


class CreditWarnings:
    """Reads the warnings of one namespace."""

    def __init__(self, store: Store, clock: Clock, budgets: Budgets) -> None:
        self._store = store
        self._clock = clock
        self._budgets = budgets

    async def list_all(self) -> list[CreditWarning]:
        """Budgets by name, then accounts."""
        marks = await self._store.warnings.read()
        return [*await self._of_budgets(marks.budgets), *await self._of_balances(marks.balances)]

    async def _of_budgets(self, marks: dict[str, StoredMark[BudgetMark]]) -> list[CreditWarning]:
        said = {
            name
            for name, stored in marks.items()
            if stored.mark is not None and stored.mark.level > BudgetLevel.OPEN
        }
        if not said:
            return []
        found = [
            budget_warning(one) for one in await self._budgets.list_all() if _name(one) in said
        ]
        return [one for one in found if one is not None]

    async def _of_balances(self, marks: dict[str, StoredMark[BalanceMark]]) -> list[CreditWarning]:
        now = self._clock.now()
        low = {
            account: stored.mark
            for account, stored in sorted(marks.items())
            if stored.mark is not None and now - stored.mark.low_at < CHECKED_S
        }
        if not low:
            return []
        balances = await self._store.balances.all()
        return [
            _balance_warning(account, mark)
            for account, mark in low.items()
            if account in balances and balances[account].entered_at == mark.entered_at
        ]


def budget_warning(shown: ShownBudget) -> CreditWarning | None:
    """What an operator should know of a budget; None for one that has room."""
    status, name = shown.status, _name(shown)
    what = f"Budget {name} ({status.budget.scope})"
    end = status.window.end
    until = f"; it starts anew {_utc_text(end)}" if math.isfinite(end) else ""
    match shown.state:
        case BudgetState.UNREADABLE:
            cause, headline = CreditWarningCause.BUDGET_UNREADABLE, f"budget {name} is unreadable"
            text = f"Budget {name} stops every job that it may apply to: {status.budget.error}"
            action = action_text(status, shown.state)
        case BudgetState.CLOSED:
            verb = "waits" if shown.waiting == 1 else "wait"
            jobs = f"{pluralize(shown.waiting, 'job')} {verb}"
            cause, headline = CreditWarningCause.BUDGET_CLOSED, f"budget {name} is closed ({jobs})"
            text = f"{what} is closed: {use_text(status)}; {jobs} for it{until}"
            action = action_text(status, shown.state)
        case BudgetState.OPEN if percent_used(status) >= NEAR_PERCENT:
            cause = CreditWarningCause.BUDGET_NEAR
            headline = f"budget {name} is used to {percent_used(status)} %"
            text = f"{what} is used to {percent_used(status)} %: {use_text(status)}{until}"
            action = ACTION_NEAR
        case BudgetState.OPEN | BudgetState.COUNTING:
            return None
        case _:
            assert_never(shown.state)
    return CreditWarning(cause, name, headline, text, action)


def _balance_warning(account: str, mark: BalanceMark) -> CreditWarning:
    left = f"about {mark.left:,.10g} credits of its entered balance are left"
    match mark.cause:
        case BalanceCause.PACE:
            until = "" if mark.dry_at is None else f" until {_utc_text(mark.dry_at)}"
            text = f"Account {account}: {left}, enough at the pace of the last hour{until}"
        case BalanceCause.WAITING:
            text = (
                f"Account {account} is likely to run out of credits within the hour: {left}, and"
                f" what runs and may start costs about {mark.ahead:,.10g}"
            )
        case _:
            assert_never(mark.cause)
    return CreditWarning(
        CreditWarningCause.BALANCE_LOW,
        account,
        f"the balance of {account} is low",
        text,
        f"Top it up, then: knouds-worker credits set-balance AMOUNT --account {account}",
    )


def _utc_text(at: float) -> str:
    """A time (Unix seconds) as `2026-11-28 00:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _name(shown: ShownBudget) -> str:
    return shown.status.budget.name
