"""What wakes a worker from other processes."""

from config.settings import Settings
from worker.engine.services.callback_sender import CallbackSender
from worker.engine.subscriber import WakeupSubscriber
from worker.engine.wakeups import Wakeup
from worker.engine.worker_parts import WorkerContext
from worker.store.callback_outbox import WAKE_MESSAGE
from worker.store.dependencies import DEPENDENCIES_MESSAGE
from worker.store.workers import drain_message


def build_subscribers(
    settings: Settings,
    context: WorkerContext,
    heartbeat_wakeup: Wakeup,
    callback_sender: CallbackSender | None,
) -> tuple[WakeupSubscriber, ...]:
    """Wake-ups: jobs, a drain of this worker, callbacks, and deliveries if any can come."""
    store, wakeups = context.store, context.wakeups
    named = {
        drain_message(context.worker_id): heartbeat_wakeup,
        DEPENDENCIES_MESSAGE: wakeups.dependencies,
        WAKE_MESSAGE: callback_sender.wakeup if callback_sender else Wakeup(),
    }
    wake = WakeupSubscriber(store.client, store.keys.wake, wakeups.admission, named)
    if not settings.webhook_secrets:
        return (wake,)
    return (wake, WakeupSubscriber(store.client, store.keys.delivered, wakeups.deliveries))
