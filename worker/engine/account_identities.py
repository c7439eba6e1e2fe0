"""As which user of the provider each account's key is used: asked once, kept for the process.

A key belongs to one user, and the keys of a process do not change.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from jobs.evidence.records import SentAs
from worker.clock import Clock
from worker.provider.port import Identity, RunProvider, UnknownAccount
from worker.tasks import cancel_and_wait

log: Final = structlog.get_logger(__name__)

FIRST_WAIT_S: Final = 5.0
"""How long a submit waits for the first answer about its account."""

ASK_AGAIN_S: Final = 30.0
"""Pause between two questions while there is no answer."""


class AccountIdentities:
    """The provider's users behind the accounts of this process."""

    def __init__(self, provider: RunProvider, clock: Clock, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._provider = provider
        self._clock = clock
        self._user_ids: dict[str, str] = {}
        self._asked_at: dict[str, float] = {}
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._first_questions: dict[str, asyncio.Task[None]] = {}

    def sent_as(self, account: str) -> SentAs:
        """Where and as whom a submit of the account is sent now."""
        return SentAs(self.base_url, self._user_ids.get(account))

    def user_id(self, account: str) -> str | None:
        """The user behind an account; None while that is not known."""
        return self._user_ids.get(account)

    def by_user(self, accounts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The accounts of each user, as far as the user is known."""
        found: dict[str, tuple[str, ...]] = {}
        for account in accounts:
            if (user_id := self.user_id(account)) is not None:
                found[user_id] = (*found.get(user_id, ()), account)
        return found

    async def prepare(self, account: str) -> None:
        """Ask who the user is, if that is due; submits wait a while for the first answer."""
        if account in self._user_ids:
            return
        asked_at, now = self._asked_at.get(account), self._clock.now()
        if asked_at is None or asked_at <= now - ASK_AGAIN_S:
            self._asked_at[account] = now
            question = asyncio.create_task(self._ask(account), name=f"whoami {account}")
            self._questions[account] = question
            self._first_questions.setdefault(account, question)
        first = self._first_questions[account]
        if not first.done():
            await asyncio.wait([first], timeout=FIRST_WAIT_S)

    async def close(self) -> None:
        """End the questions under way."""
        questions = {*self._questions.values(), *self._first_questions.values()}
        await cancel_and_wait(*questions)

    async def _ask(self, account: str) -> None:
        try:
            answer = await self._provider.whoami(account)
        except UnknownAccount:
            return
        if isinstance(answer, Identity) and answer.user_id is not None:
            self._user_ids[account] = answer.user_id
        else:
            log.warning("account.user_not_known", account=account)
