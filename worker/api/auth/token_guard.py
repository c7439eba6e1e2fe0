"""Finds the tokens that programs send, and limits how fast wrong ones can be tried.

A right token always passes, whatever else its address sends: behind one address there may be many
programs. Of wrong ones, those that an address repeats are 401, and new ones soon 429. That a guess
is compared all the same helps nobody: a token has 16 characters at least, and should be random.
"""

from math import ceil
from typing import Final

import structlog

from config.values import ApiToken
from worker.api.auth.login_throttle import LoginThrottle
from worker.api.auth.tokens import ApiTokens
from worker.api.problems import Problem
from worker.clock import Clock
from worker.store import Store
from worker.store.side_writes import NewAuditEntry

log: Final = structlog.get_logger(__name__)

NOBODY: Final = "nobody"
"""The name in the audit entry of a wrong token."""

_ACTIONS: Final = {"api": "token_refused", "login": "login_failed"}
"""What the audit calls a wrong token, by where it was sent."""


class TokenGuard:
    """The tokens behind the throttle."""

    def __init__(self, tokens: ApiTokens, store: Store, clock: Clock) -> None:
        self.tokens = tokens
        self._audit = store.audit
        self._metrics = store.metrics.buffer
        self._clock = clock
        self._throttle = LoginThrottle()

    async def find(self, secret: str, client: str) -> ApiToken | None:
        """The token that a client sends; None for a wrong one, or raises `Problem` (429)."""
        token = self.tokens.find(secret)
        if token is None:
            wait_s = self._throttle.wait_s(client, self._clock.now())
            counts = await self.record_wrong(self._throttle, "api", client, secret)
            if wait_s and counts:
                raise too_many_attempts(wait_s)
        return token

    async def record_wrong(
        self, throttle: LoginThrottle, where: str, client: str, secret: str
    ) -> bool:
        """Record a wrong token, and return whether it counts.

        Of many, a few get a line in the log and an entry in the audit.
        """
        self._metrics.wrong_token(where)
        now = self._clock.now()
        counts = throttle.record_failure(client, secret, now)
        if not (count := throttle.failures_to_audit(now, counts=counts)):
            return counts
        log.warning("token.refused", where=where, client=client[:64], count=count)
        note = "" if count == 1 else f"{count} wrong tokens since the last entry of this kind"
        action, on = _ACTIONS[where], client[:64]
        await self._audit.record(
            NewAuditEntry(at=now, by=NOBODY, action=action, on=on, note=note, jobs=0)
        )
        return counts


def too_many_attempts(wait_s: float) -> Problem:
    """An address that has to wait after wrong tokens (429)."""
    seconds = ceil(wait_s)
    detail = f"too many wrong tokens: try again in {seconds} s"
    headers = {"Retry-After": str(seconds)}
    return Problem(429, "slow-down", "Too many attempts", detail, headers=headers)
