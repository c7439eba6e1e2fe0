"""Which proxies in front of the API are trusted: a number of hops, or the networks they are in."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Final

from pydantic import BeforeValidator

MAX_HOPS: Final = 10


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Proxies whose `X-Forwarded-…` headers are believed; none by default."""

    hops: int = 0
    """So many proxies stand in a row before the API, and every connection comes through them."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whoever connects from one of these is a proxy."""

    def includes(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is in one of the networks."""
        return any(address in network for network in self.networks)


def parse_trusted_proxies(value: object) -> object:
    """Read `2`, or `10.0.0.0/8,fd00::/8`; raises ValueError. What is not text passes."""
    if not isinstance(value, str):
        return value
    if re.fullmatch("[0-9]{1,9}", value):
        if not 1 <= int(value) <= MAX_HOPS:
            raise ValueError(f"not a number of hops from 1 to {MAX_HOPS}")
        return TrustedProxies(hops=int(value))
    return TrustedProxies(networks=tuple(_network(part.strip()) for part in value.split(",")))


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        hint = ", its address is not the first one" if "host bits" in str(error) else ""
        raise ValueError(f"{text[:64]!r} is no network{hint}") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text[:64]!r} is every address; name the proxies, or give their number")
    return network


ProxyTrust = Annotated[TrustedProxies, BeforeValidator(parse_trusted_proxies)]
