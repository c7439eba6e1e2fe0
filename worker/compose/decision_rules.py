"""The rules that decisions are made by, of the settings."""

from config.settings import Settings
from jobs.backoff import Backoff
from jobs.effects import DecisionRules
from jobs.polling.schedules import PollSchedule
from worker.compose.provider import build_error_table


def decision_rules(settings: Settings) -> DecisionRules:
    """The rules that decisions are made by."""
    return DecisionRules(
        error_table=build_error_table(settings),
        backoff=Backoff(settings.retry_base_s, settings.retry_cap_s),
        poll_schedule=PollSchedule(settings.poll_min_s, settings.poll_max_s),
        max_missing_polls=settings.poll_missing_limit,
        sync_only_memory_s=settings.async_memory_s,
        outage_limit_s=settings.outage_limit_s,
        base_url=settings.base_url.rstrip("/"),
    )
