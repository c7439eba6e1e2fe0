"""As which user of the provider each account's key is used: asked once, kept for the process.

A key belongs to one user, and the keys of a process do not change.
"""

import asyncio
from typing import Final

import structlog

from jobs.evidence.records import SentAs
from worker.clock import Clock
from worker.provider.port import Identity, RunProvider, UnknownAccount

log: Final = structlog.get_logger(__name__)

FIRST_WAIT_S: Final = 5.0
"""How long the first submit of an account waits for the answer; later ones do not wait."""

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

    def sent_as(self, account: str) -> SentAs:
        """Where and as whom a submit of the account is sent now."""
        return SentAs(self.base_url, self._user_ids.get(account))

    def user_id(self, account: str) -> str | None:
        """The user behind an account; None while that is not known."""
        return self._user_ids.get(account)

    async def prepare(self, account: str) -> None:
        """Ask who the user is, if that is due; the first question is waited for, for a while."""
        if account in self._user_ids:
            return
        is_first = account not in self._asked_at
        asked_at = self._asked_at.get(account)
        if asked_at is None or asked_at <= self._clock.now() - ASK_AGAIN_S:
            self._asked_at[account] = self._clock.now()
            self._questions[account] = asyncio.create_task(
                self._ask(account), name=f"whoami {account}"
            )
        question = self._questions.get(account)
        if question is not None and (is_first or not question.done()) and asked_at is None:
            await asyncio.wait([question], timeout=FIRST_WAIT_S)

    async def close(self) -> None:
        """End the questions under way."""
        for question in self._questions.values():
            question.cancel()
        await asyncio.gather(*self._questions.values(), return_exceptions=True)

    async def _ask(self, account: str) -> None:
        try:
            answer = await self._provider.whoami(account)
        except UnknownAccount:
            return
        if isinstance(answer, Identity) and answer.user_id is not None:
            self._user_ids[account] = answer.user_id
        else:
            log.warning("account.user_not_known", account=account)
