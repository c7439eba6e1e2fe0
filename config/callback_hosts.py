"""Where callbacks may go: `KNOUDS_CALLBACK_HOSTS`.

A callback is a request that this machine makes to an address that a caller chose, so it could reach
what the caller cannot: a database, the metadata service of a cloud. Therefore its host must be
listed, and its address is checked when the connection is made (`allows_address`), since a name can
lead anywhere. The blocks that are refused are those of the IANA special-purpose registries
(RFC 6890), written out here: the tables of `ipaddress` differ between versions of Python.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

VARIABLE: Final = "KNOUDS_CALLBACK_HOSTS"
MAX_URL_CHARS: Final = 2_048
MAX_PORT: Final = 65_535

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label of this form makes a name an IPv4 address for some resolvers (WHATWG URL, "ends in a
number"), as 2130706433, 0x7f000001, 127.1 and 0177.0.0.1."""

_URL_CHARS: Final = re.compile(r"[!-~]+")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_ENTRY: Final = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9a-f:.]+\]|[^:/\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
)

_REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
"""This network, private, shared (CGNAT), loopback, link-local, protocol assignments, documentation,
AS112, relays of 6to4, benchmarks, multicast, reserved and broadcast."""

_REACHABLE_V6: Final = ipaddress.IPv6Network("2000::/3")
"""Global unicast: of all else in IPv6 only `_NAT64` leads to a public host."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""The last 32 bits are an IPv4 address, which counts (RFC 6052)."""
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
"""The same (RFC 4291)."""

_REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
"""Protocol assignments with Teredo, documentation, 6to4, AS112."""


class CallbackUrlError(ValueError):
    """A URL that callbacks may not go to: says why, and what to change."""


@dataclass(frozen=True, slots=True)
class CallbackTarget:
    """A checked URL."""

    url: str
    scheme: str
    host: str
    """In lower case; an IPv6 address without brackets."""
    port: int

    @property
    def name(self) -> str:
        """Host and port, as `hooks.example.com:443`: what limits and breakers go by."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _HostEntry:
    """One host of the setting."""

    scheme: str
    host: str
    port: int
    is_wildcard: bool

    def matches(self, target: CallbackTarget) -> bool:
        if (target.scheme, target.port) != (self.scheme, self.port):
            return False
        return target.host.endswith(self.host) if self.is_wildcard else target.host == self.host


class CallbackHosts:
    """Where callbacks may go. Without an entry: nowhere.

    An entry is a host, as `hooks.example.com`, `*.example.com` for all below it,
    `hooks.example.com:8443` or `http://hooks.internal:8080`; or an address or a network that is not
    public and may be connected to, as `10.1.0.0/16`. An address with a port is both.
    """

    def __init__(self, entries: tuple[str, ...] = ()) -> None:
        """Read the entries; raises ValueError with what is wrong."""
        self.entries = entries
        self._hosts: list[_HostEntry] = []
        self._networks: list[IpNetwork] = []
        self._endpoints: set[tuple[IpAddress, int]] = set()
        for number, entry in enumerate(entries, 1):
            try:
                self._read(entry.lower())
            except ValueError as error:
                raise ValueError(f"entry {number} {error}") from None

    def __str__(self) -> str:
        """The entries, as they are set."""
        return ",".join(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CallbackHosts) and other.entries == self.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def _read(self, entry: str) -> None:
        if "/" in entry.removeprefix("http://").removeprefix("https://"):
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                raise ValueError("is not a network as 10.1.0.0/16") from None
            return
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError("is not a host as hooks.example.com, *.example.com or host:port")
        scheme = match["scheme"] or "https"
        port = int(match["port"] or _DEFAULT_PORTS[scheme])
        host = match["host"].strip("[]")
        if not 0 < port <= MAX_PORT:
            raise ValueError("has a port that is not from 1 to 65535")
        address = _address_of(host)
        if address is not None:
            self._endpoints.add((address, port))
            host = str(address)
        elif not _NAME.fullmatch(host.removeprefix("*.")) or _ends_in_number(host):
            raise ValueError("is not a host as hooks.example.com or *.example.com")
        is_wildcard = host.startswith("*.")
        self._hosts.append(_HostEntry(scheme, host.removeprefix("*"), port, is_wildcard))

    def check(self, url: str) -> CallbackTarget:
        """The target of a URL that callbacks may go to; raises `CallbackUrlError`."""
        if not self._hosts:
            raise CallbackUrlError(
                f"cannot be used: callbacks are off until {VARIABLE} lists their hosts"
            )
        target = parse_callback_url(url)
        if not any(entry.matches(target) for entry in self._hosts):
            raise CallbackUrlError(
                f"goes to {target.scheme}://{target.name}, which {VARIABLE} does not list"
            )
        return target

    def allows_address(self, address: str, port: int) -> bool:
        """Whether a connection to an address may be made."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        plain = _embedded(found) or found
        if any(one in network for one in {found, plain} for network in self._networks):
            return True
        return (plain, port) in self._endpoints or is_public(plain)


def parse_callback_url(url: str) -> CallbackTarget:
    """Read a URL strictly; raises `CallbackUrlError`.

    Whatever two programs could read differently is refused: spaces, backslashes, characters outside
    of ASCII, logins, and hosts that some resolvers take for an address.
    """
    if len(url) > MAX_URL_CHARS:
        raise CallbackUrlError(f"may have {MAX_URL_CHARS} characters")
    if not _URL_CHARS.fullmatch(url) or "\\" in url:
        raise CallbackUrlError(
            "must be printable ASCII without spaces or backslashes: write a host in Punycode, and"
            " the rest percent-encoded"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CallbackUrlError("is not a URL as https://hooks.example.com/knouds") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise CallbackUrlError("must be a URL as https://hooks.example.com/knouds")
    if "@" in parts.netloc:
        raise CallbackUrlError("must have no login: a callback proves itself by its signature")
    if "#" in url:
        raise CallbackUrlError("must have no fragment (#…)")
    if port == 0:
        raise CallbackUrlError("has port 0")
    host = _checked_host(parts.hostname.lower(), is_bracketed="[" in parts.netloc)
    return CallbackTarget(url, parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def _checked_host(host: str, *, is_bracketed: bool) -> str:
    """A name, or an address in its usual form; raises `CallbackUrlError`."""
    address = None if "%" in host else _address_of(host)
    if address is not None:
        return str(address)
    if is_bracketed or not _NAME.fullmatch(host) or _ends_in_number(host):
        raise CallbackUrlError("has a host that is neither a name nor a usual IP address")
    return host


def is_public(address: IpAddress) -> bool:
    """Whether an address is one of the public Internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _REFUSED_V4)
    plain = _embedded(address)
    if plain is not None:
        return is_public(plain)
    return address in _REACHABLE_V6 and not any(address in block for block in _REFUSED_V6)


def _embedded(address: IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a connection to an IPv6 address reaches; None where it is its own."""
    if isinstance(address, ipaddress.IPv6Address) and (address in _MAPPED or address in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _address_of(host: str) -> IpAddress | None:
    """The address that a host is in its usual form; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _ends_in_number(host: str) -> bool:
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None
