"""Finds the tokens that programs send, and limits how fast wrong ones can be tried.

An address that sent wrong tokens has to wait, as at the login, and meanwhile no other token of it
is looked at: only those that were right before pass, so programs behind one proxy go on.
"""

from collections import OrderedDict
from math import ceil
from typing import Final

import structlog

from config.values import ApiToken, secret_digest
from worker.api.auth.login_throttle import LoginThrottle
from worker.api.auth.tokens import ApiTokens
from worker.api.edge.client_address import client_network
from worker.api.problems import Problem
from worker.clock import Clock
from worker.store import Store
from worker.store.commit import NewAuditEntry

log: Final = structlog.get_logger(__name__)

MAX_KNOWN: Final = 4_096
"""Right tokens, each with an address, that are remembered."""

NOBODY: Final = "nobody"
"""The name in the audit entry of a wrong token."""


class TokenGuard:
    """The tokens behind the throttle."""

    def __init__(self, tokens: ApiTokens, store: Store, clock: Clock) -> None:
        self.tokens = tokens
        self._audit = store.audit
        self._metrics = store.metrics.buffer
        self._clock = clock
        self._throttle = LoginThrottle()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def find(self, secret: str, client: str) -> ApiToken | None:
        """The token that a client sends, None for a wrong one; raises `Problem` (429)."""
        now, key = self._clock.now(), (client_network(client), secret_digest(secret))
        if key not in self._known and (wait_s := self._throttle.wait_s(client, now)):
            self._metrics.wrong_token("api")
            raise too_many_attempts(wait_s)
        token = self.tokens.find(secret)
        if token is None:
            self._known.pop(key, None)
            self._throttle.record_failure(client, now)
            await self.record_wrong(self._throttle, "api", "token_refused", client)
            return None
        self._known[key] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return token

    async def record_wrong(
        self, throttle: LoginThrottle, where: str, action: str, client: str
    ) -> None:
        """Count a wrong token; of many, a few get a line in the log and an entry in the audit."""
        self._metrics.wrong_token(where)
        now = self._clock.now()
        if not (count := throttle.failures_to_audit(now)):
            return
        log.warning("token.refused", where=where, client=client[:64], count=count)
        note = "" if count == 1 else f"{count} wrong tokens since the last entry of this kind"
        await self._audit.record(
            NewAuditEntry(at=now, by=NOBODY, action=action, on=client[:64], note=note, jobs=0)
        )


def too_many_attempts(wait_s: float) -> Problem:
    """An address that has to wait after wrong tokens (429)."""
    seconds = ceil(wait_s)
    detail = f"too many wrong tokens: try again in {seconds} s"
    headers = {"Retry-After": str(seconds)}
    return Problem(429, "slow-down", "Too many attempts", detail, headers=headers)
