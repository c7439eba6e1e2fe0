"""The provider, built from the settings: what a second provider changes outside its own package."""

import os
from dataclasses import replace
from typing import Final

from config.settings import Settings, SettingsError
from jobs.error_table import Disposition, ErrorTable
from worker.provider.http.network_path import InvalidProxy, choose_path
from worker.provider.http.options import HttpOptions
from worker.provider.knouds.client import SETTING_NAMES, KnoudsClient, Timeouts
from worker.provider.knouds.error_rows import ERROR_CODES, ERROR_RULES
from worker.provider.knouds.webhooks import SIGNATURE_FORMAT, SIGNATURE_HEADER, KnoudsWebhooks
from worker.provider.port import RateLimitObserver, RunProvider, WebhookReader

KNOWN_ERROR_CODES: Final = ERROR_CODES
"""Error codes that metrics name; all others count as `other`."""

WEBHOOKS: Final = ("knouds", SIGNATURE_HEADER, SIGNATURE_FORMAT)
"""The last part of the path that deliveries come to, the header that signs them, and its format."""


UNACKNOWLEDGED_S: Final = 90.0
"""Seconds until a peer that acknowledges nothing is given up."""

GRACE_SHARE: Final = 0.75
"""It is given up before the evidence may say that a submit did not start: nothing of it arrives
later."""


def build_provider(
    settings: Settings, rate_limit_observer: RateLimitObserver | None = None
) -> RunProvider:
    """The provider's client; it connects with its first call.

    Raises SettingsError for a proxy or a CA file that cannot be used.
    """
    return KnoudsClient(
        settings.base_url,
        settings.accounts,
        timeouts=Timeouts(
            submit_s=settings.submit_timeout_s,
            sync_s=settings.sync_timeout_s,
            poll_s=settings.poll_timeout_s,
        ),
        http=http_options(settings),
        rate_limit_observer=rate_limit_observer,
    )


def http_options(settings: Settings) -> HttpOptions:
    """How the provider is reached. Raises SettingsError, also for a proxy of the environment."""
    proxy_url = settings.proxy_url.get_secret_value() if settings.proxy_url else None
    try:
        path = choose_path(settings.base_url, proxy_url, SETTING_NAMES.proxy, os.environ)
    except InvalidProxy as error:
        raise SettingsError(str(error)) from None
    options = HttpOptions(
        connect_s=settings.connect_timeout_s,
        unacknowledged_s=min(UNACKNOWLEDGED_S, GRACE_SHARE * settings.evidence_grace_s),
        path=path,
        ca_file=settings.ca_file,
        names=SETTING_NAMES,
    )
    if settings.ca_file is None:
        return options
    try:
        return replace(options, tls=options.tls_context())
    except OSError:
        raise SettingsError(
            f"{SETTING_NAMES.ca_file}: holds no certificate; expected a PEM file, as"
            " -----BEGIN CERTIFICATE-----"
        ) from None


def build_error_table(settings: Settings) -> ErrorTable:
    """What each error of the provider means, with the overrides of the settings."""
    overrides = {code: Disposition(name) for code, name in settings.error_rules.items()}
    return ErrorTable(ERROR_RULES, overrides)


def build_webhook_reader(settings: Settings) -> WebhookReader:
    """What checks and reads the provider's deliveries."""
    return KnoudsWebhooks(settings.webhook_secrets)
