"""How single values are read: credentials, addresses, scopes, tokens.

Each check raises ValueError with what is wrong and never with the value, since most of them are
secrets. `settings.py` adds the variable's name and the way to mend it.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

TOKEN_SECRET_MIN_CHARS = 16
WEBHOOK_SECRET_MIN_CHARS = 16  # both bounds are the provider's, for the secrets its dashboard takes
WEBHOOK_SECRET_MAX_CHARS = 256

_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_TOKEN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SCOPE = re.compile(r"\*|[a-z0-9][a-z0-9_-]{0,31}(?:/(?:model|workflow)(?:/[^/\s]+)?)?")
_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class Role(StrEnum):
    """What a bearer token may do. Each role includes the ones before it."""

    ENQUEUE = "enqueue"
    WATCH = "watch"
    """Sees how everything stands, but no inputs and no results."""
    READ = "read"
    OPERATE = "operate"

    def covers(self, needed: "Role") -> bool:
        """Tell whether a token of this role may do what takes the role `needed`."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(needed)

    @property
    def sees_payloads(self) -> bool:
        """Whether inputs and results may be seen."""
        return self.covers(Role.READ)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer of the HTTP API; `name` is what the audit records say, `secret` is what is sent."""

    name: str
    role: Role
    secret: SecretStr


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A Redis found through Sentinel: where to ask, which service to ask for, and how to log in."""

    nodes: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: SecretStr | None


def parse_sentinel(url: str) -> Sentinel | None:
    """Read `redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]`.

    None for a URL of another scheme; ValueError, without the URL in it, for a broken one.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "redis+sentinel":
        return None
    authority, _, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    service, _, db = path.partition("/")
    if not service or not re.fullmatch(r"\d{0,4}", db):
        raise ValueError(
            "the Sentinel URL needs /service and, at most, /service/db after the hosts"
        )
    return Sentinel(
        nodes=tuple(_sentinel_node(node) for node in hosts.split(",")),
        service=unquote(service),
        db=int(db or 0),
        username=unquote(username) or None,
        password=SecretStr(unquote(password)) if password else None,
    )


def _sentinel_node(node: str) -> tuple[str, int]:
    host, port = _address(f"//{node}")
    return host, port or 26379


def _address(url: str) -> tuple[str, int | None]:
    """Split off host and port. The messages of `urlsplit` repeat the text, so ours replace them."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ValueError(
            "has no readable host and port (escape / : @ in a password as %2F %3A %40)"
        )
    return host, port


# --- Reading single values -----------------------------------------------------------------------


def _json_object(value: object) -> object:
    """Decode a variable that holds a JSON object; values from code pass as they are."""
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
    """Refuse a name given twice, which JSON itself would settle in silence."""
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise ValueError("a name appears twice in the JSON object")
    return decoded


def _tokens(value: object) -> object:
    """Read `name:role:secret,name:role:secret`; a secret may hold colons, but no comma."""
    if not isinstance(value, str):
        return value
    return tuple(_token(number, entry) for number, entry in enumerate(value.split(","), start=1))


def _token(number: int, entry: str) -> ApiToken:
    name, _, rest = entry.strip().partition(":")
    role, _, secret = rest.partition(":")
    if not _TOKEN_NAME.fullmatch(name):
        raise ValueError(f"entry {number} has no usable name (letters, digits, _ . -)")
    if role not in tuple(Role):
        raise ValueError(f"entry {number} has a role that is not {', '.join(Role)}")
    if len(secret) < TOKEN_SECRET_MIN_CHARS or not _HEADER_SAFE.fullmatch(secret):
        raise ValueError(
            f"entry {number} needs a secret of {TOKEN_SECRET_MIN_CHARS} or more"
            " printable characters without spaces"
        )
    return ApiToken(name, Role(role), SecretStr(secret))


def _reject_duplicates(tokens: tuple[ApiToken, ...]) -> tuple[ApiToken, ...]:
    if len({token.name for token in tokens}) != len(tokens):
        raise ValueError("a name is given twice")
    if len({token.secret.get_secret_value() for token in tokens}) != len(tokens):
        raise ValueError("two entries share a secret")
    return tokens


def _header_safe(value: SecretStr) -> SecretStr:
    """Refuse what could not travel in an HTTP header, such as a key pasted with its line break."""
    if not _HEADER_SAFE.fullmatch(value.get_secret_value()):
        raise ValueError("holds a space, a line break or a character outside ASCII")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if parse_sentinel(url) is not None:
        return value
    scheme, _, rest = url.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return value
    if scheme not in {"redis", "rediss"}:
        raise ValueError("not a redis://, rediss://, redis+sentinel:// or unix:// URL")
    _address(url)
    if not re.fullmatch(r"/?\d{0,4}", urlsplit(url).path):
        raise ValueError("may have /database-number after the host and nothing else")
    return value


def _http_url(value: str) -> str:
    """Check an http(s) address without credentials; its trailing slash is dropped."""
    if not value.startswith(("http://", "https://")):
        raise ValueError("not an http:// or https:// address")
    _address(value)
    parts = urlsplit(value)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be a plain address, without login, query or fragment")
    return value.rstrip("/")


def split_secrets(value: SecretStr) -> tuple[SecretStr, ...]:
    """The secrets of a comma-separated list, blanks around them dropped."""
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


def _full_match(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    """Build the check of a name in a JSON object."""

    def check(name: str) -> str:
        if not pattern.fullmatch(name):
            raise ValueError(f"not {what}")
        return name

    return check


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


ApiKey = Annotated[SecretStr, AfterValidator(_header_safe)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
ApiTokens = Annotated[
    tuple[ApiToken, ...], BeforeValidator(_tokens), AfterValidator(_reject_duplicates)
]
Namespace = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1024, le=1 << 30)]

AnyCase = BeforeValidator(_lower)
JsonObject = BeforeValidator(_json_object)
Label = Annotated[
    str, AfterValidator(_full_match(_LABEL, "an account label: a-z 0-9 _ -, at most 32"))
]
CapScope = Annotated[
    str,
    AfterValidator(_full_match(_SCOPE, "a scope: *, account, account/kind or account/kind/target")),
]
ErrorCode = Annotated[str, AfterValidator(_full_match(_CODE, "an error code: letters, digits, _"))]
DispositionOverride = Literal["dead", "retry", "park"]
