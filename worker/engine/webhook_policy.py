"""How a run is watched: by its webhook where that can be relied on, else by looks at likely times.

Whether webhooks come is counted in each process by itself, account by account: it is about how
often to ask, never about what is true.
"""

from collections import Counter
from dataclasses import replace
from typing import Final, Protocol

import structlog

from jobs.effects import DecisionRules
from jobs.lanes import Lane
from jobs.polling.schedules import PollSchedule, SafetyNetSchedule

log: Final = structlog.get_logger(__name__)

MAX_MISSES: Final = 3
"""Runs in a row that a poll found ended without their webhook; then polls are the usual ones."""


class ScheduleSource(Protocol):
    """Who knows when runs of a lane are likely to end."""

    def schedule(self, lane: Lane) -> PollSchedule:
        """When to look at runs of a lane."""
        ...


class WebhookPolicy:
    """Chooses the rules for a run: polls as a safety net where its webhook can be relied on."""

    def __init__(
        self,
        rules: DecisionRules,
        *,
        receives_webhooks: bool,
        schedules: ScheduleSource | None = None,
    ) -> None:
        self._default_rules = rules
        usual = rules.poll_schedule
        self._safety_net_rules = replace(
            rules, poll_schedule=SafetyNetSchedule(usual.min_s, usual.max_s)
        )
        self._schedules = schedules
        self._rules_by_lane: dict[Lane, DecisionRules] = {}
        self._misses: Counter[str] = Counter()
        self.receives_webhooks = receives_webhooks
        """Whether deliveries can be checked at all: a secret is set."""

    def rules(self, lane: Lane, *, has_webhook: bool, is_cancelling: bool = False) -> DecisionRules:
        """The rules for a run; `webhook`: the provider said that it will tell of its end.

        A run that is being cancelled ends soon, whatever others took.
        """
        if is_cancelling or self._schedules is None:
            learned = self._default_rules.poll_schedule
        else:
            learned = self._schedules.schedule(lane)
        if has_webhook and self.receives_webhooks and self._misses[lane.account] < MAX_MISSES:
            return self._safety_net_rules
        return (
            self._default_rules
            if learned is self._default_rules.poll_schedule
            else self._with_schedule(learned, lane)
        )

    def _with_schedule(self, schedule: PollSchedule, lane: Lane) -> DecisionRules:
        """The usual rules with a lane's own schedule, made once for each."""
        rules = self._rules_by_lane.get(lane)
        if rules is None or rules.poll_schedule is not schedule:
            rules = self._rules_by_lane[lane] = replace(self._default_rules, poll_schedule=schedule)
        return rules

    def record_delivery(self, account: str) -> None:
        """A delivery of the account came."""
        if self._misses.pop(account, 0) >= MAX_MISSES:
            log.info("webhooks.resumed", account=account)

    def record_miss(self, account: str) -> None:
        """A run of the account was found ended, and its webhook had not come."""
        self._misses[account] += 1
        if self._misses[account] == MAX_MISSES:
            log.warning("webhooks.missed", account=account, runs=MAX_MISSES)
