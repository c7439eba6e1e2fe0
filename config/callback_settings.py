"""The settings about callbacks: what this program sends to apps when their jobs end."""

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    model_validator,
)

from config.callback_hosts import CallbackHosts, CallbackUrlError
from config.values import Bytes, Seconds, split_secrets

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
"""Bounds of a secret's bytes, as in the Standard Webhooks specification."""

EVERY_ACCOUNT: Final = "*"
"""The label that stands for the accounts which have no URL of their own."""


def _hosts(value: object) -> object:
    """Read a comma-separated list; raises ValueError."""
    if not isinstance(value, str):
        return value
    return CallbackHosts(tuple(part.strip() for part in value.split(",")))


def _urls(value: object) -> object:
    """A URL for all accounts, or a JSON object of account label to URL."""
    if not isinstance(value, str):
        return value
    if not value.startswith("{"):
        return {EVERY_ACCOUNT: value}
    try:
        found: Any = json.loads(value)
    except ValueError:
        raise ValueError("neither a URL nor a JSON object") from None
    return found


def _secrets(value: SecretStr) -> SecretStr:
    """Check `whsec_` and base64, of each; raises ValueError, which shows none."""
    plain = [one.get_secret_value() for one in split_secrets(value)]
    if not all(map(_is_secret, plain)):
        raise ValueError(
            f"each must be {SECRET_PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in"
            " base64"
        )
    if len(set(plain)) != len(plain):
        raise ValueError("a secret is given twice")
    return value


def _is_secret(text: str) -> bool:
    encoded = text.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    return text != encoded and MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES


class CallbackSettings(BaseModel):
    """The settings of callbacks; `config.settings.Settings` has them too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    callback_hosts: Annotated[InstanceOf[CallbackHosts], BeforeValidator(_hosts)] = Field(
        default=CallbackHosts(),
        description="hosts that callbacks may go to, as hooks.example.com,*.example.org,"
        "http://hooks.internal:8080, and networks that are not public and that names may lead to,"
        " as 10.1.0.0/16; without it callbacks are refused",
    )
    callback_secret: Annotated[SecretStr, AfterValidator(_secrets)] | None = Field(
        default=None,
        description="what signs callbacks: whsec_ and 24 to 64 bytes in base64, as"
        " `echo whsec_$(openssl rand -base64 32)` writes it; of several, separated by commas, all"
        " sign",
    )
    callback_url: Annotated[dict[str, str], BeforeValidator(_urls)] = Field(
        default={},
        description="where the callbacks of jobs go that name no callback_url: a URL, or a JSON"
        ' object of account label to URL, with "*" for all others',
    )
    callback_timeout_s: Seconds = Field(
        default=15, le=120, description="seconds for the whole answer to a callback, at most 120"
    )
    callback_outbox_bytes: Bytes = Field(
        default=256 << 20,
        description="bytes of Redis that callbacks may take; from 80 % on jobs with callbacks are"
        " refused, and above it the events of jobs are lost, and counted",
    )

    @model_validator(mode="after")
    def _check_callbacks(self) -> Self:
        if self.callback_hosts.entries and self.callback_secret is None:
            raise ValueError(
                "KNOUDS_CALLBACK_SECRET: is missing, and KNOUDS_CALLBACK_HOSTS is set; callbacks"
                " are signed, so set both"
            )
        for label, url in self.callback_url.items():
            try:
                self.callback_hosts.check(url)
            except CallbackUrlError as error:
                raise ValueError(f"KNOUDS_CALLBACK_URL: the URL of {label!r} {error}") from None
        return self

    @property
    def callback_secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that signs callbacks: two while one is being replaced."""
        return split_secrets(self.callback_secret) if self.callback_secret else ()

    def default_callback_url(self, account: str) -> str | None:
        """Where callbacks of an account's jobs go that name no URL; None: they have none."""
        urls = cast("Mapping[str, str]", self.callback_url)
        return urls.get(account, urls.get(EVERY_ACCOUNT))
