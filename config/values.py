"""The types of single settings: credentials, addresses, scopes, tokens.

Each check raises ValueError that says what is wrong and never contains the value, which may be a
secret. `config.settings` adds the name of the variable and what a good value looks like.
"""

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from config.redis_address import check_redis_url, host_and_port

TOKEN_SECRET_MIN_CHARS = 16
PAYLOAD_KEY_BYTES = 32  # AES-256
PLAIN_PAYLOADS = "plain"  # stands among the keys for payloads that are not encrypted
NO_PAYLOAD_KEY = b""  # what it is read as
WEBHOOK_SECRET_MIN_CHARS = 16  # both bounds are those of the provider's dashboard
WEBHOOK_SECRET_MAX_CHARS = 256

# As in `jobs.lanes`, which this leaf may not import.
LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
TOKEN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SCOPE = re.compile(r"\*|[a-z0-9][a-z0-9_-]{0,31}(?:/(?:model|workflow)(?:/[^/\s]+)?)?")
_HOST_PATTERN = re.compile(r"(\*\.)?[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,10}")
_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")
HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class Role(StrEnum):
    """What the holder of an API token may do. Each role includes those before it."""

    ENQUEUE = "enqueue"
    WATCH = "watch"
    """Sees everything except inputs and results."""
    READ = "read"
    OPERATE = "operate"
    """May act on jobs and holds."""

    def covers(self, needed: "Role") -> bool:
        """Whether this role includes the role `needed`."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(needed)

    @property
    def sees_payloads(self) -> bool:
        """Whether this role sees inputs and results."""
        return self.covers(Role.READ)


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """How much a token may enqueue; None: as the settings say, 0: no limit."""

    enqueues_per_s: float | None = None
    open_jobs: int | None = None
    open_bytes: int | None = None
    """Bytes of the inputs of its jobs that have not settled."""
    new_lanes_per_min: int | None = None
    new_tags_per_min: int | None = None

    def with_defaults(self, defaults: "TokenLimits") -> "TokenLimits":
        """These limits, with those of the settings where the token has none of its own."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(defaults, **given)


@dataclass(frozen=True, slots=True)
class Grants:
    """What a token is restricted to, beside its role. Without values it is not restricted."""

    tenant: str = ""
    """Whose jobs it makes and sees; without one it makes those of no tenant, and sees all."""
    own: bool = False
    """With the role `enqueue`: it may read the jobs of its tenant, with inputs and results."""
    accounts: tuple[str, ...] | None = None
    """Accounts that it may enqueue for."""
    kinds: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    """Targets that it may enqueue for; a `*` stands for any characters."""
    limits: TokenLimits | None = None
    """None: the limits of the settings, as for tokens of `KNOUDS_API_TOKENS`."""


UNRESTRICTED: Final = Grants()


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of the HTTP API. `name` is what audit entries show, a secret is what clients send."""

    name: str
    role: Role
    secret: SecretStr | None
    """None: only its digest is known."""
    sha256: str = field(default="", repr=False)
    """The SHA-256 of the secret in hexadecimal digits, by which it is found."""
    expires_at: float | None = None
    """Unix seconds from which on it is not valid; None: never."""
    grants: Grants = UNRESTRICTED

    def __post_init__(self) -> None:
        if self.secret is not None:
            object.__setattr__(self, "sha256", secret_digest(self.secret.get_secret_value()))


def secret_digest(secret: str) -> str:
    """The SHA-256 of a token's secret, as `ApiToken.sha256` has it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


# --- Reading single values -----------------------------------------------------------------------


def _json_object(value: object) -> object:
    """Decode the JSON object of a variable. Values that are not text are returned as they are."""
    if not isinstance(value, str):
        return value
    try:
        decoded: object = json.loads(value, object_pairs_hook=_reject_duplicate_names)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos})") from None
    if not isinstance(decoded, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  pydantic collects ValueError only
    return decoded  # pyright: ignore[reportUnknownVariableType]  pydantic checks what is inside


def _reject_duplicate_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a repeated name, of which `json` would silently keep the last."""
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("a name appears twice in the JSON object")
    return decoded


def _tokens(value: object) -> object:
    """Read `name:role:secret,name:role:secret`. A secret may contain colons, but no comma."""
    if not isinstance(value, str):
        return value
    return tuple(_token(number, entry) for number, entry in enumerate(value.split(","), start=1))


def _token(number: int, entry: str) -> ApiToken:
    name, _, rest = entry.strip().partition(":")
    role, _, secret = rest.partition(":")
    if not TOKEN_NAME.fullmatch(name):
        raise ValueError(f"entry {number} has no usable name (letters, digits, _ . -)")
    if role not in tuple(Role):
        raise ValueError(f"entry {number} has a role that is not {', '.join(Role)}")
    if len(secret) < TOKEN_SECRET_MIN_CHARS or not HEADER_SAFE.fullmatch(secret):
        raise ValueError(
            f"entry {number} needs a secret of {TOKEN_SECRET_MIN_CHARS} or more"
            " printable characters without spaces"
        )
    return ApiToken(name, Role(role), SecretStr(secret))


def _reject_duplicates(tokens: tuple[ApiToken, ...]) -> tuple[ApiToken, ...]:
    if len({token.name for token in tokens}) != len(tokens):
        raise ValueError("a name is given twice")
    if len({token.sha256 for token in tokens}) != len(tokens):
        raise ValueError("two entries share a secret")
    return tokens


def _header_safe(value: SecretStr) -> SecretStr:
    """Refuse what an HTTP header cannot carry, such as a key pasted with its line break."""
    if not HEADER_SAFE.fullmatch(value.get_secret_value()):
        raise ValueError("contains a space, a line break or a character outside ASCII")
    return value


def _http_url(value: str) -> str:
    """Check an http(s) address without credentials, and drop its trailing slash."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("not an http:// or https:// address")
    host_and_port(value)
    parts = urlsplit(value)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be a plain address, without login, query or fragment")
    return value.rstrip("/")


def _proxy_url(value: SecretStr) -> SecretStr:
    """Check the address of an HTTP proxy; it may carry a login, which no message shows."""
    url = value.get_secret_value()
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an http:// or https:// address (SOCKS is not supported)")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("not the address of a proxy; write % @ : / in a password as %25 %40 …")
    return value


def _readable_file(value: Path) -> Path:
    try:
        with value.open("rb"):
            return value
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None


def split_secrets(value: SecretStr) -> tuple[SecretStr, ...]:
    """The secrets of a comma-separated list, without blanks around them."""
    return tuple(SecretStr(part.strip()) for part in value.get_secret_value().split(","))


def _webhook_secret(value: SecretStr) -> SecretStr:
    secrets = [secret.get_secret_value() for secret in split_secrets(value)]
    if not all(WEBHOOK_SECRET_MIN_CHARS <= len(one) <= WEBHOOK_SECRET_MAX_CHARS for one in secrets):
        each = "each of several " if len(secrets) > 1 else ""
        raise ValueError(
            f"{each}must have {WEBHOOK_SECRET_MIN_CHARS} to {WEBHOOK_SECRET_MAX_CHARS} characters"
        )
    if len(set(secrets)) != len(secrets):
        raise ValueError("a secret is given twice")
    return value


def _payload_keys(value: SecretStr) -> SecretStr:
    keys = payload_key_list(value)
    if len(set(keys)) != len(keys):
        raise ValueError("a key is given twice")
    return value


def payload_key_list(value: SecretStr) -> tuple[bytes, ...]:
    """The keys of `KNOUDS_PAYLOAD_KEYS`, `NO_PAYLOAD_KEY` for `plain`; raises ValueError."""
    return tuple(
        NO_PAYLOAD_KEY if one.get_secret_value() == PLAIN_PAYLOADS else _payload_key(one)
        for one in split_secrets(value)
    )


def _payload_key(value: SecretStr) -> bytes:
    """The 32 bytes of a key in base64; raises ValueError."""
    text = value.get_secret_value().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if len(key) != PAYLOAD_KEY_BYTES:
        raise ValueError(
            f"a key is not {PAYLOAD_KEY_BYTES} bytes in base64, and not `{PLAIN_PAYLOADS}`"
        )
    return key


def _full_match(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    """A check that a name in a JSON object matches `pattern`."""

    def check(name: str) -> str:
        if not pattern.fullmatch(name):
            raise ValueError(f"not {what}")
        return name

    return check


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


OWN_PATHS: Final = frozenset(
    {
        "audit",
        "batches",
        "breakers",
        "budgets",
        "bulk",
        "callbacks",
        "caps",
        "credits",
        "dead",
        "holds",
        "jobs",
        "livez",
        "login",
    }
    | {
        "logout",
        "metrics",
        "openapi.json",
        "parked",
        "readyz",
        "schedules",
        "sessions",
        "static",
        "v1",
        "webhooks",
        "workers",
    }
)
"""The first parts of the paths that API and dashboard serve."""


def _path_prefix(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", value):
        raise ValueError("is not a path as /knouds, of letters, digits, . _ ~ - and no last slash")
    first, *rest = value[1:].split("/")
    if {".", ".."} & {first, *rest}:
        raise ValueError("has a part of dots alone, which browsers and proxies remove")
    if first in OWN_PATHS:
        raise ValueError(f"begins with /{first}, a path of the program; use another, as /knouds")
    return value


ApiKey = Annotated[SecretStr, AfterValidator(_header_safe)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]
ReadableFile = Annotated[Path, AfterValidator(_readable_file)]


def _split_names(value: object) -> object:
    """The names of a comma-separated list, without blanks around them."""
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(","))


def _media_host(value: str) -> str:
    host = value.lower()
    if host != "*" and not _HOST_PATTERN.fullmatch(host):
        raise ValueError("is not a host as media.example.com, *.example.com for all below it, or *")
    return host


MediaHosts = Annotated[
    tuple[Annotated[str, AfterValidator(_media_host)], ...], BeforeValidator(_split_names)
]
RedisUrl = Annotated[SecretStr, AfterValidator(check_redis_url)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
PayloadKeys = Annotated[SecretStr, AfterValidator(_payload_keys)]
ApiTokens = Annotated[
    tuple[ApiToken, ...], BeforeValidator(_tokens), AfterValidator(_reject_duplicates)
]
PathPrefix = Annotated[str, AfterValidator(_path_prefix)]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]
Limit = Annotated[float, Field(ge=0, le=366 * 86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1024, le=1 << 30)]

AnyCase = BeforeValidator(_lower)
JsonObject = BeforeValidator(_json_object)
Label = Annotated[
    str, AfterValidator(_full_match(LABEL, "an account label: a-z 0-9 _ -, at most 32"))
]
Labels = Annotated[tuple[Label, ...], BeforeValidator(_split_names)]
CapScope = Annotated[
    str,
    AfterValidator(_full_match(_SCOPE, "a scope: *, account, account/kind or account/kind/target")),
]
ErrorCode = Annotated[str, AfterValidator(_full_match(_CODE, "an error code: letters, digits, _"))]
DispositionOverride = Literal["dead", "retry", "park"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address that is listened on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
