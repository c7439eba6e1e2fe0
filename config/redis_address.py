"""The address of Redis: what each form of URL may hold, and its parts.

Each check raises ValueError that says what is wrong and never contains the URL, which may hold a
password. An unknown field of the query is refused: redis-py would take it as an option of its
connections, and fail, or reply otherwise, only after the start.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

ESCAPES: Final = "escape / : @ ? # in a password as %2F %3A %40 %3F %23"

_SENTINEL_SCHEMES: Final = ("redis+sentinel", "rediss+sentinel")
_TLS_SCHEMES: Final = ("rediss", "rediss+sentinel")


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A Redis behind Sentinel: where the Sentinels are, and the logins to both."""

    nodes: tuple[tuple[str, int], ...]
    """Host and port of each Sentinel."""
    service: str
    db: int
    username: str | None = None
    """The login to the Redis servers."""
    password: SecretStr | None = None
    sentinel_username: str | None = None
    """The login to the Sentinels; without a password, none is sent."""
    sentinel_password: SecretStr | None = None
    is_tls: bool = False
    """Whether the Sentinels and the servers speak TLS."""
    options: "Mapping[str, Option]" = field(default_factory=lambda: MappingProxyType({}))
    """Further fields of the query: options of the connections."""


def parse_sentinel(url: str) -> Sentinel | None:
    """Read `redis+sentinel://[user:password@]host[:port],host[:port]/service[/db][?field=value]`.

    None for a URL of another scheme. Raises ValueError for a broken one.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _SENTINEL_SCHEMES:
        return None
    rest = rest.partition("?")[0]
    authority, _, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    service, _, db = path.partition("/")
    if not service or not re.fullmatch(r"\d{0,4}", db):
        raise ValueError(
            f"the Sentinel URL needs /service and, at most, /service/db after the hosts; {ESCAPES}"
        )
    options = redis_options(url)
    sentinel_username = options.pop("sentinel_username", None)
    sentinel_password = options.pop("sentinel_password", None)
    if sentinel_username and not sentinel_password:
        raise ValueError("sentinel_password in its query is missing; add it to sentinel_username")
    query_db = options.pop("db", None)
    _check_one_database(db, query_db)
    return Sentinel(
        nodes=tuple(_sentinel_node(node) for node in hosts.split(",")),
        service=unquote(service),
        db=int(db or query_db or 0),
        username=unquote(username) or None,
        password=SecretStr(unquote(password)) if password else None,
        sentinel_username=str(sentinel_username) if sentinel_username else None,
        sentinel_password=SecretStr(str(sentinel_password)) if sentinel_password else None,
        is_tls=scheme in _TLS_SCHEMES,
        options=MappingProxyType(options),
    )


def _sentinel_node(node: str) -> tuple[str, int]:
    host, port = host_and_port(f"//{node}")
    return host, port or 26379


def host_and_port(url: str) -> tuple[str, int | None]:
    """The host and port of a URL. Raises ValueError without the URL, unlike `urlsplit`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ValueError(f"has no readable host and port ({ESCAPES})")
    return host, port


def check_redis_url(value: SecretStr) -> SecretStr:
    """Refuse a URL that redis-py could not use, or would use otherwise than it says."""
    url = value.get_secret_value()
    if parse_sentinel(url) is not None:
        return value
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        if not re.fullmatch(r"([^/@]*@)?/[^#]*", rest.partition("?")[0]):
            raise ValueError(f"needs /the/path/of/the/socket after unix:// ({ESCAPES})")
        redis_options(url)
        return value
    if scheme not in {"redis", "rediss"}:
        raise ValueError(
            "not a redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix:// URL"
        )
    host_and_port(url)
    if not re.fullmatch(r"/?\d{0,4}", urlsplit(url).path):
        raise ValueError("may have /database-number after the host and nothing else")
    if urlsplit(url).fragment:
        raise ValueError(f"has a # in it ({ESCAPES})")
    _check_one_database(urlsplit(url).path.lstrip("/"), redis_options(url).get("db"))
    return value


def _check_one_database(in_path: str, in_query: "Option | None") -> None:
    if in_path and in_query is not None and int(in_path) != in_query:
        raise ValueError(
            f"names database {int(in_path)} after the host and db={in_query} in its query; keep one"
        )


def redis_passwords(url: str) -> frozenset[str]:
    """The passwords of a URL as they are written in it and as they are meant, for redaction."""
    rest = url.partition("://")[2]
    raw = rest.partition("/")[0].rpartition("@")[0].partition(":")[2]
    fields = [one.partition("=") for one in rest.partition("?")[2].split("&")]
    written = {raw, *(value for name, _, value in fields if name == "sentinel_password")}
    return frozenset({*written, *map(unquote, written)} - {""})


# --- The fields of the query ---------------------------------------------------------------------


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text):
        raise ValueError("is not the number of a database, as 0")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", text) or float(text) == 0:
        raise ValueError("is not a number of seconds above 0")
    return float(text)


def _printable(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", text):
        raise ValueError("has a space or a character outside ASCII")
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return text.lower() == "true"


def _requirement(text: str) -> str:
    if text not in {"required", "none"}:
        raise ValueError("is neither required nor none")
    return text


def _authorities(text: str) -> str:
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise ValueError("names a file that holds no certificate; a PEM file is needed") from None
    except OSError as error:
        raise ValueError(f"names a file that cannot be read ({error.strerror})") from None
    return text


def _readable(text: str) -> str:
    try:
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"names a file that cannot be read ({error.strerror})") from None


Option = str | int | float | bool
_Readers = Mapping[str, Callable[[str], Option]]

_EVERYWHERE: Final[_Readers] = {
    "db": _database,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "health_check_interval": _seconds,
    "client_name": _printable,
}
_WITH_TLS: Final[_Readers] = {
    "ssl_ca_certs": _authorities,
    "ssl_certfile": _readable,
    "ssl_keyfile": _readable,
    "ssl_check_hostname": _boolean,
    "ssl_cert_reqs": _requirement,
}
_WITH_SENTINEL: Final[_Readers] = {"sentinel_username": str, "sentinel_password": str}


def redis_options(url: str) -> dict[str, Option]:
    """The fields of a URL's query, read. Raises ValueError that names the first wrong one."""
    scheme, _, rest = url.partition("://")
    query = rest.partition("?")[2]
    known: dict[str, Callable[[str], Option]] = dict(_EVERYWHERE)
    if scheme in _TLS_SCHEMES:
        known.update(_WITH_TLS)
    if scheme in _SENTINEL_SCHEMES:
        known.update(_WITH_SENTINEL)
    found: dict[str, Option] = {}
    for one in query.split("&") if query else ():
        name, _, value = one.partition("=")
        if name in found or (name in known and not value):
            raise ValueError(f"{name} in its query is {'given twice' if value else 'empty'}")
        found[name] = _read_option(known, name, unquote(value))
    if ("ssl_certfile" in found) is not ("ssl_keyfile" in found):
        raise ValueError("one of ssl_certfile and ssl_keyfile is missing in its query; give both")
    if scheme in _TLS_SCHEMES:
        _complete_tls(found)
    return found


def _complete_tls(found: dict[str, Option]) -> None:
    """Add that the host has to be the one in the certificate, unless the URL says otherwise."""
    is_verified = found.get("ssl_cert_reqs") != "none"
    if found.setdefault("ssl_check_hostname", is_verified) and not is_verified:
        raise ValueError("ssl_check_hostname=true in its query needs ssl_cert_reqs=required")


def _read_option(known: _Readers, name: str, value: str) -> Option:
    if name in _WITH_TLS and name not in known:
        raise ValueError(f"{name} in its query needs a URL that begins with rediss; use TLS")
    if name not in known:
        shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "a field"
        raise ValueError(
            f"{shown} in its query is not known; remove it, or use {', '.join(known)} ({ESCAPES})"
        )
    try:
        return known[name](value)
    except ValueError as error:
        raise ValueError(f"{name} in its query {error}") from None
