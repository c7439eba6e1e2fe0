"""How a run is watched: by its webhook where that can be relied on, else by looks at likely times.

Whether webhooks come is counted in each process by itself, account by account: it is about how
often to ask, never about what is true.
"""

from collections import Counter
from dataclasses import replace
from typing import Final, Protocol

import structlog

from jobs.effects import Rules
from jobs.lanes import Lane
from jobs.polling.schedules import PollSchedule, SafetyNet

log: Final = structlog.get_logger(__name__)

MISSES_MOST: Final = 3
"""Runs in a row that a poll found ended without their webhook; then polls are the usual ones."""


class KnowsDurations(Protocol):
    """Who knows when runs of a lane are likely to end."""

    def schedule(self, lane: Lane) -> PollSchedule:
        """When to look at runs of a lane."""
        ...


class Reliance:
    """Chooses the rules for a run: polls as a safety net where its webhook can be relied on."""

    def __init__(
        self, rules: Rules, *, receives: bool, durations: KnowsDurations | None = None
    ) -> None:
        self._usual = rules
        usual = rules.schedule
        self._sparse = replace(rules, schedule=SafetyNet(usual.min_s, usual.max_s))
        self._durations = durations
        self._learned: dict[Lane, Rules] = {}
        self._misses: Counter[str] = Counter()
        self.receives = receives
        """Whether deliveries can be checked at all: a secret is set."""

    def rules(self, lane: Lane, *, webhook: bool, cancelling: bool = False) -> Rules:
        """The rules for a run; `webhook`: the provider said that it will tell of its end.

        A run that is being cancelled ends soon, whatever others took.
        """
        if cancelling or self._durations is None:
            learned = self._usual.schedule
        else:
            learned = self._durations.schedule(lane)
        if webhook and self.receives and self._misses[lane.account] < MISSES_MOST:
            return self._sparse
        return self._usual if learned is self._usual.schedule else self._with(learned, lane)

    def _with(self, schedule: PollSchedule, lane: Lane) -> Rules:
        """The usual rules with a lane's own schedule, made once for each."""
        rules = self._learned.get(lane)
        if rules is None or rules.schedule is not schedule:
            rules = self._learned[lane] = replace(self._usual, schedule=schedule)
        return rules

    def came(self, account: str) -> None:
        """A delivery of the account came."""
        if self._misses.pop(account, 0) >= MISSES_MOST:
            log.info("webhooks.resumed", account=account)

    def missed(self, account: str) -> None:
        """A run of the account was found ended, and its webhook had not come."""
        self._misses[account] += 1
        if self._misses[account] == MISSES_MOST:
            log.warning("webhooks.missed", account=account, runs=MISSES_MOST)
