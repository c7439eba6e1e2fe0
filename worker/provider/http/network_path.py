"""The way to the provider: direct, or through a proxy of the settings or of the environment."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

_SCHEMES: Final = ("http", "https")


class InvalidProxy(ValueError):
    """A proxy that cannot be used; the text names the variable and shows no credentials."""


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """How connections are made."""

    proxy_url: str | None = field(default=None, repr=False)
    """URL of the proxy, with credentials; None for direct connections."""
    source: str = ""
    """The variable that names the proxy."""

    @property
    def proxy(self) -> str | None:
        """The proxy's address without credentials."""
        if self.proxy_url is None:
            return None
        parts = urlsplit(self.proxy_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def describe(self) -> str:
        """`direct`, or `through proxy http://host:port (HTTPS_PROXY)`."""
        return "direct" if self.proxy_url is None else f"through proxy {self.proxy} ({self.source})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The proxy's password, as it is written and decoded."""
        password = urlsplit(self.proxy_url or "").password
        return (password, unquote(password)) if password else ()


DIRECT: Final = NetworkPath()


def choose_path(
    base_url: str, proxy_url: str | None, proxy_setting: str, environ: Mapping[str, str]
) -> NetworkPath:
    """Choose the way to `base_url`.

    `proxy_url`, the value of the setting `proxy_setting`, comes first and knows no exceptions. Else
    `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` of `environ` count, in either case, but not for the
    hosts of `NO_PROXY` nor for this machine. Raises InvalidProxy.
    """
    if proxy_url:
        return _checked(proxy_url, proxy_setting)
    parts = urlsplit(base_url)
    found = _proxies(environ)
    for kind in (parts.scheme, "all"):
        url = found.get(kind)
        if url and not _is_loopback(parts.hostname or "") and not _is_excepted(parts.netloc, found):
            return _checked(url if "://" in url else f"http://{url}", _variable(kind, environ))
    return DIRECT


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxies by scheme, and `no` for the exceptions; names in lower case come first."""
    found: dict[str, str] = {}
    for kind in (*_SCHEMES, "all", "no"):
        value = environ.get(_variable(kind, environ), "").strip()
        if value:
            found[kind] = value
    return found


def _variable(kind: str, environ: Mapping[str, str]) -> str:
    name = f"{kind}_proxy"
    return name if name in environ else name.upper()


def _is_excepted(netloc: str, found: dict[str, str]) -> bool:
    """Whether `NO_PROXY` names the host: itself, a domain above it, its network, or `*`."""
    parts = urlsplit(f"//{netloc}")
    host = (parts.hostname or "").rstrip(".")
    for entry in found.get("no", "").lower().split(","):
        name = entry.strip()
        if name in ("*", host, f"{host}:{parts.port}"):
            return True
        domain = name.removeprefix("*").removeprefix(".")
        if domain and (host.endswith(f".{domain}") or _is_in_network(host, name)):
            return True
    return False


def _is_in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network)
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked(url: str, source: str) -> NetworkPath:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in _SCHEMES and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidProxy(
            f"{source}: not the address of an HTTP proxy; use http://host:port,"
            " with http://user:password@host:port if it asks for one (SOCKS is not supported)"
        )
    return NetworkPath(url, source)
