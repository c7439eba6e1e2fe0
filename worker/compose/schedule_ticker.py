"""The service that enqueues the jobs of schedules."""

from config.settings import Settings
from worker.compose.app import build_schedule_jobs
from worker.engine.services.schedule_ticker import ScheduleTicker
from worker.engine.worker_parts import WorkerContext


def build_schedule_ticker(settings: Settings, context: WorkerContext) -> ScheduleTicker:
    """The ticker, with the defaults that jobs get whose request does not say."""
    jobs = build_schedule_jobs(settings)
    return ScheduleTicker(context.store, jobs, context.wakeups.admission)
