"""The provider, built from the settings: what a second provider changes outside its own package."""

from typing import Final

from config.settings import Settings
from jobs.error_table import Disposition, ErrorTable
from worker.provider.http.options import HttpOptions
from worker.provider.knouds.client import SETTING_NAMES, KnoudsClient, Timeouts
from worker.provider.knouds.error_rows import ERROR_CODES, ERROR_RULES
from worker.provider.knouds.webhooks import SIGNATURE_FORMAT, SIGNATURE_HEADER, KnoudsWebhooks
from worker.provider.port import RateLimitObserver, RunProvider, WebhookReader

KNOWN_ERROR_CODES: Final = ERROR_CODES
"""Error codes that metrics name; all others count as `other`."""

WEBHOOKS: Final = ("knouds", SIGNATURE_HEADER, SIGNATURE_FORMAT)
"""The last part of the path that deliveries come to, the header that signs them, and its format."""


def build_provider(
    settings: Settings, rate_limit_observer: RateLimitObserver | None = None
) -> RunProvider:
    """The provider's client; it connects with its first call."""
    return KnoudsClient(
        settings.base_url,
        settings.accounts,
        timeouts=Timeouts(
            submit_s=settings.submit_timeout_s,
            sync_s=settings.sync_timeout_s,
            poll_s=settings.poll_timeout_s,
        ),
        http=HttpOptions(
            connect_s=settings.connect_timeout_s,
            names=SETTING_NAMES,
        ),
        rate_limit_observer=rate_limit_observer,
    )


def build_error_table(settings: Settings) -> ErrorTable:
    """What each error of the provider means, with the overrides of the settings."""
    overrides = {code: Disposition(name) for code, name in settings.error_rules.items()}
    return ErrorTable(ERROR_RULES, overrides)


def build_webhook_reader(settings: Settings) -> WebhookReader:
    """What checks and reads the provider's deliveries."""
    return KnoudsWebhooks(settings.webhook_secrets)
