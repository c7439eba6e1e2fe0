"""Whether webhooks can be relied on, account by account: they decide how often runs are polled.

Counted in each process by itself: it is about how often to ask, never about what is true.
"""

from collections import Counter
from dataclasses import replace
from typing import Final

import structlog

from jobs.decide import Rules
from jobs.polling import SafetyNet

log: Final = structlog.get_logger(__name__)

MISSES_MOST: Final = 3
"""Runs in a row that a poll found ended without their webhook; then polls are the usual ones."""


class Reliance:
    """Chooses the rules for a run: polls as a safety net where its webhook can be relied on."""

    def __init__(self, rules: Rules, *, receives: bool) -> None:
        self._usual = rules
        usual = rules.schedule
        self._sparse = replace(rules, schedule=SafetyNet(usual.min_s, usual.max_s))
        self._misses: Counter[str] = Counter()
        self.receives = receives
        """Whether deliveries can be checked at all: a secret is set."""

    def rules(self, account: str, *, webhook: bool) -> Rules:
        """The rules for a run; `webhook`: the provider said that it will tell of its end."""
        relied = webhook and self.receives and self._misses[account] < MISSES_MOST
        return self._sparse if relied else self._usual

    def came(self, account: str) -> None:
        """A delivery of the account came."""
        if self._misses.pop(account, 0) >= MISSES_MOST:
            log.info("webhooks.resumed", account=account)

    def missed(self, account: str) -> None:
        """A run of the account was found ended, and its webhook had not come."""
        self._misses[account] += 1
        if self._misses[account] == MISSES_MOST:
            log.warning("webhooks.missed", account=account, runs=MISSES_MOST)
