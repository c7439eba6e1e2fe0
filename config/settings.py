"""Every setting of the program: its name, its default, its bounds, and the message if it is wrong.

`config.environment.load` reads them once, at the start, from the environment and from `.env`; the
environment takes precedence. A wrong value, or a `KNOUDS_…` name that does not exist, stops the
start with one line: a misspelt limit that silently kept its default could cost credits.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import ConfigDict, Field, SecretStr, model_validator

from config.callback_settings import CallbackSettings
from config.credit_settings import DefaultEstimate, EnqueueChecksMode
from config.redis_address import Sentinel, parse_sentinel, redis_passwords
from config.sign_on import AuthGroups, AuthHeader, check_sign_on
from config.token_file import TokenFileError, read_token_file
from config.token_limits import DEFAULT_LIMITS, LimitsOfTokens
from config.trusted_proxies import ProxyTrust, TrustedProxies
from config.values import (
    PLAIN_PAYLOADS,
    AnyCase,
    ApiKey,
    ApiTokens,
    Bytes,
    CapScope,
    Count,
    DispositionOverride,
    ErrorCode,
    HttpUrl,
    JsonObject,
    Label,
    Labels,
    Limit,
    MediaHosts,
    Namespace,
    PathPrefix,
    PayloadKeys,
    ProxyUrl,
    ReadableFile,
    RedisUrl,
    Seconds,
    WebhookSecret,
    is_loopback,
    payload_key_list,
    split_secrets,
)

PREFIX = "KNOUDS_"
DEFAULT_ACCOUNT = "default"

SHUTDOWN_MARGIN_S = 30.0
"""How much longer a shutdown may take than the longest sync run, by default."""


def grace_for(sync_timeout_s: float) -> float:
    """The grace time of a shutdown that cuts no sync run, in seconds."""
    return sync_timeout_s + SHUTDOWN_MARGIN_S


class SettingsError(Exception):
    """One line for the operator: which variable, what is wrong, how to fix it.

    It never contains the value of a secret.
    """


class Settings(CallbackSettings):
    """The settings, validated. Times are seconds, sizes are bytes.

    A description says what a good value looks like. It is shown in the error of a wrong value and
    in docs/settings.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # The provider and its accounts
    api_key: ApiKey | None = Field(default=None, description="the key from the Knouds dashboard")
    api_keys: Annotated[dict[Label, ApiKey], JsonObject] = Field(
        default={},
        description='a JSON object of account label to key, as {"studio": "knouds_live_…"}',
    )
    base_url: HttpUrl = Field(
        default="https://knouds.ai", description="an address, as https://knouds.ai"
    )
    proxy_url: ProxyUrl | None = Field(
        default=None,
        description="the HTTP proxy to the provider, http://host:port or"
        " http://user:password@host:port; without it HTTPS_PROXY, HTTP_PROXY and NO_PROXY count",
    )
    ca_file: ReadableFile | None = Field(
        default=None,
        description="a PEM file of the certificates to trust instead of the system's, as of a"
        " company's proxy; without it SSL_CERT_FILE counts",
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None,
        description="the signing secret from the Knouds dashboard, or several separated by commas",
    )

    # Redis
    redis_url: RedisUrl | None = Field(
        default=None,
        description="redis://host:6379/0 or redis+sentinel://host:26379,host/service/0; over TLS"
        " rediss://… and rediss+sentinel://…, with ?ssl_ca_certs=FILE for a CA of your own",
    )
    redis_wait_replicas: int = Field(
        default=0,
        ge=0,
        le=10,
        description="replicas that an enqueue and the mark before a submit wait for, 0 to 10;"
        " 0 waits for none",
    )
    redis_wait_ms: int = Field(
        default=200, ge=1, le=2000, description="milliseconds of that wait at most, 1 to 2000"
    )
    namespace: Namespace = Field(default="knouds", description="1 to 32 of a-z 0-9 _ -")
    payload_keys: PayloadKeys | None = Field(
        default=None,
        description="keys that encrypt inputs and results in Redis, each 32 bytes in base64 as"
        " `openssl rand -base64 32` writes them; of several, separated by commas, the first"
        " encrypts and all decrypt. Payloads that are not encrypted are read only where `plain`"
        " is one of them",
    )

    # The HTTP API, and the command line that talks to it
    http_host: str = Field(default="127.0.0.1", min_length=1, description="an address to listen on")
    http_port: int = Field(default=8080, ge=0, le=65535, description="a port, 0 for any free one")
    api_tokens: ApiTokens = Field(
        default=(),
        description="name:role:secret,name:role:secret with role enqueue, watch, read or operate",
    )
    api_tokens_file: ReadableFile | None = Field(
        default=None,
        description="a JSON file of more tokens, a list of objects with name, role, and secret or"
        " sha256; it is read again when it changes",
    )
    token_limits: LimitsOfTokens = DEFAULT_LIMITS
    auth_header: AuthHeader = None
    auth_groups: AuthGroups = {}  # noqa: RUF012  a model copies it
    http_prefix: PathPrefix = Field(
        default="",
        max_length=200,
        description="the path a proxy serves it under, as /knouds: no slash at the end; the proxy"
        " may strip it from requests or not",
    )
    trusted_proxies: ProxyTrust = Field(
        default=TrustedProxies(),
        description="how many proxies in a row set X-Forwarded-For and X-Forwarded-Proto, 1 to 10,"
        " or the networks they connect from, as 10.0.0.0/8,fd00::/8",
    )
    media_hosts: MediaHosts = Field(
        default=("knouds.ai", "*.knouds.ai"),
        description="hosts whose images, video and audio the dashboard loads by itself over https,"
        " as media.example.com,*.example.org; others open on a click",
    )
    max_body_bytes: Bytes = Field(default=8 << 20, description="bytes of a request, 1024 to 1 GiB")
    api_url: HttpUrl | None = Field(
        default=None, description="the API's address for the command line"
    )
    api_token: ApiKey | None = Field(
        default=None, description="the command line's secret for the API"
    )

    # Concurrency and sizes
    max_jobs: Count = Field(default=50, description="async submits that a worker makes at once")
    sync_runs: Count = Field(
        default=500, description="sync runs whose connection a worker keeps open at once"
    )
    poll_concurrency: Count = Field(default=100, description="polls that a worker makes at once")
    lane_caps: Annotated[dict[CapScope, Count], JsonObject] = Field(
        default={},
        description="a JSON object of scope to the most runs of a lane that are under way at once,"
        ' as {"default/model/suno": 4, "*": 200}; knouds-worker caps sets others at any time',
    )
    fair_key_caps: Annotated[dict[CapScope, Count], JsonObject] = Field(
        default={},
        description="a JSON object of scope to the most runs that one fair_key may have submitted"
        ' or running in a lane at once, as {"*": 10}',
    )
    max_inputs_bytes: Bytes = Field(
        default=1 << 20, description="bytes of one job's inputs, 1024 to 1 GiB"
    )
    max_result_bytes: Bytes = Field(
        default=4 << 20, description="bytes of one result, 1024 to 1 GiB"
    )

    # Waiting for the provider
    connect_timeout_s: Seconds = Field(default=10, description="seconds to reach the provider")
    submit_timeout_s: Seconds = Field(
        default=30, description="seconds for the answer to an async submit"
    )
    sync_timeout_s: Seconds = Field(default=600, description="seconds for the answer to a sync run")
    poll_timeout_s: Seconds = Field(default=15, description="seconds for the answer to a poll")
    run_deadline_s: Seconds = Field(default=3600, description="seconds until a run counts as stuck")
    poll_min_s: Seconds = Field(
        default=0.5, description="fewest seconds between two polls of a run"
    )
    poll_max_s: Seconds = Field(default=30, description="most seconds between two polls of a run")
    polls_per_run: float = Field(
        default=4,
        ge=1.5,
        le=100,
        allow_inf_nan=False,
        description="polls of a run on average once durations are known, 1.5 to 100",
    )
    rate_window_s: Seconds = Field(
        default=60, description="seconds of the provider's rate-limit window"
    )
    start_check: bool = Field(
        default=True,
        description="true to check every API key at the provider when a worker starts",
    )
    shared_quota: bool = Field(
        default=False, description="true where submits and polls of an account share one rate limit"
    )
    poll_missing_limit: Count = Field(
        default=5, description="polls in a row that find no run until the job is uncertain"
    )
    async_memory_s: Seconds = Field(
        default=86_400, description="seconds it is remembered that a target is sync-only"
    )

    # Submits whose outcome is unknown
    on_uncertain: Annotated[Literal["park", "retry", "reconcile"], AnyCase] = Field(
        default="park",
        description="what jobs do whose submit has an unknown outcome: park, retry or reconcile",
    )
    evidence_grace_s: Seconds = Field(
        default=120, description="seconds until a run is in the provider's list of runs"
    )
    shared_accounts: Labels = Field(
        default=(), description="labels of accounts that other programs use too, as default,studio"
    )

    # Credits
    default_estimate: DefaultEstimate = None
    enqueue_checks: EnqueueChecksMode = "warn"

    # Errors
    max_attempts: Count = Field(default=5, description="attempts until a job is dead")
    retry_base_s: Seconds = Field(
        default=2, description="seconds of the first backoff, which doubles"
    )
    retry_cap_s: Seconds = Field(default=300, description="most seconds of a backoff")
    outage_limit_s: Limit = Field(
        default=86_400,
        description="seconds for which a job bears that its target fails, until it is dead;"
        " 0 bears no outage",
    )
    error_rules: Annotated[dict[ErrorCode, DispositionOverride], JsonObject] = Field(
        default={},
        description="a JSON object of error code to dead, retry or park,"
        ' as {"EXECUTION_FAILED": "park"}',
    )

    # The worker
    lease_s: Seconds = Field(
        default=10, description="seconds until the work of a silent worker is taken over"
    )
    shutdown_grace_s: Seconds = Field(
        default_factory=lambda found: grace_for(found["sync_timeout_s"]),
        description="seconds from a stop signal until the process has ended",
    )
    retention_s: Seconds = Field(default=604_800, description="seconds a settled job is kept")
    payload_retention_s: Limit = Field(
        default=0,
        description="seconds that inputs and results of a succeeded or cancelled job are kept;"
        " 0 keeps them as long as the job",
    )
    state_dir: Path = Field(default=Path(".state"), description="a folder for the embedded Redis")
    log_format: Annotated[Literal["auto", "json", "console"], AnyCase] = Field(
        default="auto", description="auto is console on a terminal, else json"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], AnyCase] = Field(
        default="info", description="debug, info, warning, error or critical"
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        for low, high in _ORDERED_PAIRS:
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{variable_name(low)}: more than {variable_name(high)}; lower the first"
                    " or raise the second"
                )
        if self.api_key and DEFAULT_ACCOUNT in self.api_keys:
            raise ValueError(
                f"{variable_name('api_keys')}: names the account {DEFAULT_ACCOUNT!r}, which"
                f" {variable_name('api_key')} already is; drop one of the two"
            )
        return self

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        check_sign_on(self.auth_header, self.auth_groups, self.trusted_proxies)
        if self.api_tokens_file is not None:
            try:
                read_token_file(self.api_tokens_file, self.api_tokens)
            except TokenFileError as error:
                raise ValueError(f"{variable_name('api_tokens_file')}: {error}") from None
        return self

    @property
    def needs_tokens(self) -> bool:
        """Whether callers have to authenticate: with tokens, or through a proxy."""
        return bool(self.api_tokens or self.api_tokens_file or self.auth_header)

    @property
    def accounts(self) -> Mapping[str, SecretStr]:
        """The provider's keys by account label; `default` is `KNOUDS_API_KEY`."""
        named = {DEFAULT_ACCOUNT: self.api_key} if self.api_key else {}
        return {**named, **self.api_keys}

    @property
    def webhook_secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that may sign a delivery: two while a secret is being replaced."""
        return split_secrets(self.webhook_secret) if self.webhook_secret else ()

    @property
    def plain_payload_keys(self) -> tuple[bytes, ...]:
        """The keys that read payloads, the first encrypts; an empty one stands for `plain`."""
        return payload_key_list(self.payload_keys) if self.payload_keys else ()

    @property
    def plain_redis_url(self) -> str | None:
        """The URL of Redis with its password, only to connect; None for an embedded server."""
        return self.redis_url.get_secret_value() if self.redis_url else None

    @property
    def sentinel(self) -> Sentinel | None:
        """The parts of a `redis+sentinel://` URL; None if Redis is reached directly."""
        return parse_sentinel(self.plain_redis_url) if self.plain_redis_url else None

    @property
    def cli_url(self) -> str:
        """The address of the API for the command line: `api_url`, else the one on this machine."""
        if self.api_url:
            return self.api_url
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  read, not bound
        host = everywhere.get(self.http_host, self.http_host)
        return (
            f"http://[{host}]:{self.http_port}"
            if ":" in host
            else f"http://{host}:{self.http_port}"
        )

    @property
    def secret_values(self) -> frozenset[str]:
        """Every secret in plain text, only for the redaction of logs."""
        secrets = [
            *self.accounts.values(),
            *(token.secret for token in self.api_tokens if token.secret is not None),
            *self.webhook_secrets,
            *self.callback_secrets,
            *((self.api_token,) if self.api_token else ()),
            *(split_secrets(self.payload_keys) if self.payload_keys else ()),
        ]
        plain = {secret.get_secret_value() for secret in secrets} - {PLAIN_PAYLOADS}
        return frozenset(plain | set(self._redis_passwords()) | set(self._proxy_passwords()))

    def _proxy_passwords(self) -> Iterator[str]:
        if not self.proxy_url:
            return
        password = urlsplit(self.proxy_url.get_secret_value()).password
        if password:
            yield password
            yield unquote(password)

    def _redis_passwords(self) -> Iterator[str]:
        if not self.redis_url:
            return
        yield from redis_passwords(self.redis_url.get_secret_value())

    def require_tokens(self) -> None:
        """Raise SettingsError if the API would serve other machines without tokens."""
        if self.needs_tokens or is_loopback(self.http_host):
            return
        raise SettingsError(
            f"{variable_name('http_host')}: {self.http_host} is open to other machines and no"
            f" token is set; set {variable_name('api_tokens')}=name:operate:secret, or listen on"
            " 127.0.0.1"
        )


_ORDERED_PAIRS = (
    ("poll_min_s", "poll_max_s"),
    ("retry_base_s", "retry_cap_s"),
    ("connect_timeout_s", "submit_timeout_s"),
    ("connect_timeout_s", "sync_timeout_s"),
    ("max_inputs_bytes", "max_body_bytes"),
)


def variable_name(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()
