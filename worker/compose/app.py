"""The use cases, built from the settings."""

from config.settings import Settings
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import Clock
from worker.store import Store


def build_enqueuer(settings: Settings, store: Store, clock: Clock) -> Enqueuer:
    """The use case that enqueues jobs, with the defaults of the settings."""
    return Enqueuer(store, clock, JobDefaults(settings.max_attempts, settings.run_deadline_s))
