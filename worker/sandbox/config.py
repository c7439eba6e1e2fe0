"""The settings of the sandbox."""

from dataclasses import dataclass

DEFAULT_KEY = "knouds_live_sandbox"
"""The default key: Business tier, every capability."""

SECRET_LENGTHS = range(16, 257)
"""Length of a webhook secret, from the provider's page on webhooks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """Start-up settings; times in seconds.

    `limit` and `poll_limit` are requests per user, route and window: `None` means what the tier
    grants (for polls: unlimited), 0 means unlimited and no rate-limit headers.
    `median_s`, `sigma` and `cap_s` override the catalogue for every target; `speed` divides
    medians, caps and `cancel_s`. `credits` is the first balance of the default key's user.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    limit: int | None = None
    poll_limit: int | None = None
    window_s: float = 60.0
    speed: float = 1.0
    median_s: float | None = None
    sigma: float | None = None
    cap_s: float | None = None
    cancel_s: float = 0.5
    credits: int | None = None
    webhook_url: str | None = None
    webhook_secret: str = "whsec_sandbox_0123456789abcdef"  # noqa: S105 - of the sandbox
    webhook_attempts: int = 5
    webhook_retry_s: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: names the wrong setting.
        """
        if self.speed <= 0:
            raise ValueError("speed must be above 0")
        if self.window_s <= 0:
            raise ValueError("window_s must be above 0")
        if len(self.webhook_secret) not in SECRET_LENGTHS:
            raise ValueError("webhook_secret must have 16 to 256 characters")
