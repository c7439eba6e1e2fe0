"""How a run is watched: by its webhook where webhooks arrive, else by polls at likely times.

Each process counts by account whether webhooks arrive. The count decides how often to poll, never
what an outcome means.
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
"""Runs in a row whose end a poll found before their webhook; then polls are the usual ones."""

OVERDUE_S: Final = 600.0
"""Age from which a run that cannot be polled counts as one whose webhook was missed. Runs that take
longer count wrongly, unless a delivery of the account comes in between."""


class ScheduleSource(Protocol):
    """Knows when runs of a lane are likely to end."""

    def schedule(self, lane: Lane) -> PollSchedule:
        """When to poll runs of a lane."""
        ...


class WebhookPolicy:
    """Chooses the rules for a run: few polls, as a safety net, where its webhook will arrive."""

    def __init__(
        self,
        rules: DecisionRules,
        *,
        receives_webhooks: bool,
        schedules: ScheduleSource | None = None,
    ) -> None:
        self._default_rules = rules
        default = rules.poll_schedule
        self._safety_net_rules = replace(
            rules,
            poll_schedule=SafetyNetSchedule(default.min_s, default.max_s),
            webhooks_arrive=True,
        )
        self._schedules = schedules
        self._rules_by_lane: dict[Lane, DecisionRules] = {}
        self._misses: Counter[str] = Counter()
        self._delivered: set[str] = set()
        self.receives_webhooks = receives_webhooks
        """Whether deliveries can be verified: a secret is set."""

    def rules(self, lane: Lane, *, has_webhook: bool, is_cancelling: bool = False) -> DecisionRules:
        """The rules for a run. `has_webhook`: the provider announced a webhook for its end.

        A run that is being cancelled is polled by the default schedule: it ends soon.
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
        """The default rules with a lane's own schedule, made once for each."""
        rules = self._rules_by_lane.get(lane)
        if rules is None or rules.poll_schedule is not schedule:
            rules = self._rules_by_lane[lane] = replace(self._default_rules, poll_schedule=schedule)
        return rules

    def has_delivered(self, account: str) -> bool:
        """Whether a delivery of the account has arrived, and none was missed since."""
        return account in self._delivered

    def record_delivery(self, account: str) -> None:
        """Note that a delivery of the account arrived."""
        self._delivered.add(account)
        if self._misses.pop(account, 0) >= MAX_MISSES:
            log.info("webhooks.resumed", account=account)

    def record_refused(self, account: str, age_s: float) -> None:
        """Note that a poll was refused of a run that announced a webhook `age_s` seconds ago.

        Nothing but the webhook reports its end: if none of the account comes, it counts as missed.
        """
        if self.receives_webhooks and age_s >= OVERDUE_S and self._misses[account] < MAX_MISSES:
            self.record_miss(account)

    def record_miss(self, account: str) -> None:
        """Note that a poll found a run ended whose webhook had not arrived."""
        self._misses[account] += 1
        self._delivered.discard(account)
        if self._misses[account] == MAX_MISSES:
            log.warning("webhooks.missed", account=account, runs=MAX_MISSES)
