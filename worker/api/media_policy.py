"""Which URLs of results a browser loads by itself, on a click, or never.

A result comes from the provider, and the browser of an operator is inside our network: a URL that
loads by itself is a request that others chose. So media load by themselves only from hosts on a
list, others open on a click, and addresses of private networks are text.
"""

import ipaddress
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

ANY_HOST: Final = "*"

_PLAIN_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
"""Other characters are decoded or folded by browsers, each in its own way."""
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+")
"""A last label by which browsers take a host for an IPv4 address, in whatever form."""
_INTERNAL_SUFFIXES: Final = frozenset(
    {"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private"}
)
_INTERNAL_DOMAINS: Final = ("home.arpa",)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class MediaLoading(StrEnum):
    """How a URL of a result is shown."""

    ALONE = "alone"
    """The browser loads it with the page."""
    CLICK = "click"
    """A link."""
    NEVER = "never"
    """Text: it leads into a private network, or its host has more than one reading."""


class MediaPolicy:
    """Judges URLs by their hosts.

    `hosts`: names, `*.name` for all below one, or `*` for every public one. The origin of
    `base_url`, where the provider is, always loads: it may be a sandbox on this machine.
    """

    def __init__(self, hosts: Sequence[str], base_url: str) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._base_origin = _origin(urlsplit(base_url))

    def loading_of(self, url: str) -> MediaLoading:
        """How an http or https URL is shown."""
        try:
            parts = urlsplit(url)
            origin = _origin(parts)
        except ValueError:
            return MediaLoading.NEVER
        if origin == self._base_origin:
            return MediaLoading.ALONE
        host = (parts.hostname or "").lower()
        if is_internal(host) or parts.username is not None:
            return MediaLoading.NEVER
        is_listed = parts.scheme == "https" and origin[2] == _DEFAULT_PORTS["https"]
        return MediaLoading.ALONE if is_listed and self._lists(host) else MediaLoading.CLICK

    @property
    def csp_sources(self) -> str:
        """The sources of images, video and audio, as a Content-Security-Policy names them."""
        scheme, host, port = self._base_origin
        name = f"[{host}]" if ":" in host else host
        own = f"{scheme}://{name}" + ("" if port == _DEFAULT_PORTS.get(scheme) else f":{port}")
        listed = ["https:" if host == ANY_HOST else f"https://{host}" for host in self._hosts]
        return " ".join(dict.fromkeys([own, *listed]))

    def _lists(self, host: str) -> bool:
        name = host.rstrip(".")
        return any(
            one in (ANY_HOST, name) or (one.startswith("*.") and name.endswith(one[1:]))
            for one in self._hosts
        )


def is_internal(host: str) -> bool:
    """Whether a host is, or may be, of a private network: an address or a name."""
    if ":" in host:
        return _is_internal_ipv6(host)
    if not _PLAIN_HOST.fullmatch(host):
        return True
    name = host.rstrip(".")
    last = name.rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        try:
            return not ipaddress.IPv4Address(name).is_global
        except ValueError:  # 127.1, 0x7f000001 or 2130706433: browsers read these, too
            return True
    is_inside = any(name == one or name.endswith(f".{one}") for one in _INTERNAL_DOMAINS)
    return "." not in name or last in _INTERNAL_SUFFIXES or is_inside


def _is_internal_ipv6(host: str) -> bool:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return True
    carries_ipv4 = address.ipv4_mapped or address.sixtofour or address.teredo
    return not address.is_global or bool(carries_ipv4) or address in _NAT64


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(scheme)
