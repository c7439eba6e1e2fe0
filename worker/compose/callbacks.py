"""The service that sends callbacks, where it is configured."""

from config.settings import Settings
from worker.app.callback_bodies import StoredCallbackBodies
from worker.engine.callbacks.poster import CallbackPoster
from worker.engine.services.callback_sender import CallbackSender
from worker.engine.worker_parts import WorkerContext


def build_callback_sender(settings: Settings, context: WorkerContext) -> CallbackSender | None:
    """The sender; None where the settings name no hosts, so that there are no callbacks."""
    if not settings.callback_hosts.entries:
        return None
    secrets = [secret.get_secret_value() for secret in settings.callback_secrets]
    post = CallbackPoster(settings.callback_hosts, secrets, settings.callback_timeout_s)
    return CallbackSender(context, post, StoredCallbackBodies(context.store.payloads))
