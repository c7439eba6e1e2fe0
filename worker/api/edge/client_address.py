"""The address of the client, also behind proxies (`KNOUDS_TRUSTED_PROXIES`).

Each proxy appends the address of whoever connected to it to `X-Forwarded-For`. So the entries are
read from the right, and only as far as they were written by trusted proxies: what stands further
left came with the request, and anyone can write it. All lines of the header count as one list (RFC
9110, 5.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp import web

from config.trusted_proxies import TrustedProxies

TRUSTED_PROXIES: Final = web.AppKey("trusted proxies", TrustedProxies)

UNKNOWN: Final = "unknown"
"""The address of a client whose connection has none, as one over a Unix socket."""

MAX_ADDRESS_CHARS: Final = 64
"""An IPv6 address has at most 45, and a port."""

_IPV6_CLIENT_BITS: Final = 64

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class ResolvedClient:
    """Who sends a request, and through how many trusted proxies."""

    address: str
    proxies: int


def client_address(request: web.Request) -> str:
    """The client's IP address, as text; `unknown` where the connection has none."""
    return _resolve(request).address


def is_from_trusted_proxy(request: web.Request) -> bool:
    """Whether a trusted proxy sends the request, so that its headers are believed."""
    return _resolve(request).proxies > 0


def is_https(request: web.Request) -> bool:
    """Whether the client uses HTTPS: here, or up to the outermost trusted proxy."""
    if request.scheme == "https":
        return True
    values = _list_of(request, "X-Forwarded-Proto")
    proxies = min(_resolve(request).proxies, len(values))
    return proxies > 0 and values[-proxies].lower() == "https"


def client_network(address: str) -> str:
    """What limits count as one client: the address; of IPv6 its /64, which one client has whole."""
    found = _parse(address)
    if found is None:
        return address[:64]
    if isinstance(found, IPv4Address):
        return str(found)
    return str(ip_network((int(found), _IPV6_CLIENT_BITS), strict=False))


def resolve_client(peer: str, forwarded: Sequence[str], trusted: TrustedProxies) -> ResolvedClient:
    """The client of a connection from `peer` whose `X-Forwarded-For` has these entries.

    An entry that is no address ends the search: the proxy that wrote it counts as the client.

    >>> resolve_client("10.0.0.9", ["6.6.6.6", "203.0.113.7"], TrustedProxies(hops=1))
    ResolvedClient(address='203.0.113.7', proxies=1)
    """
    found = _parse(peer.partition("%")[0])
    client = str(found) if found is not None else peer[:64] or UNKNOWN
    left, proxies = list(forwarded), 0
    while proxies < trusted.hops or (found is not None and trusted.includes(found)):
        proxies += 1
        following = _parse(left.pop()) if left else None
        if following is None:
            break
        found, client = following, str(following)
    return ResolvedClient(client, proxies)


def _resolve(request: web.Request) -> ResolvedClient:
    trusted = request.app[TRUSTED_PROXIES]
    return resolve_client(request.remote or "", _list_of(request, "X-Forwarded-For"), trusted)


def _list_of(request: web.Request, name: str) -> list[str]:
    """The entries of a header that is a list, over all its lines."""
    lines = request.headers.getall(name, [])
    return [entry.strip() for line in lines for entry in line.split(",")]


def _parse(text: str) -> Address | None:
    """An address, without the port that some proxies add; IPv4 written as IPv6 is IPv4."""
    return _parse_short(text) if len(text) <= MAX_ADDRESS_CHARS else None


@lru_cache(maxsize=1_024)
def _parse_short(text: str) -> Address | None:
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        found = ip_address(host)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        return None if found.scope_id else found.ipv4_mapped or found
    return found
