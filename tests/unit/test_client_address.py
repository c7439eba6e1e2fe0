"""Only what trusted proxies wrote into X-Forwarded-For says who the client is."""

import pytest

from config.environment import load
from config.settings import SettingsError
from config.trusted_proxies import TrustedProxies, parse_trusted_proxies
from worker.api.edge.client_address import client_network, resolve_client

CLIENT = "203.0.113.7"
FORGED = "198.51.100.66"
PROXY = "10.0.0.9"


def client(trusted: str, peer: str, *forwarded: str) -> str:
    found = parse_trusted_proxies(trusted) if trusted else TrustedProxies()
    assert isinstance(found, TrustedProxies)
    return resolve_client(peer, forwarded, found).address


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        # Nobody is trusted.
        ("", CLIENT, [], CLIENT),
        ("", CLIENT, [FORGED], CLIENT),
        # A number of hops, counted from the right.
        ("1", PROXY, [CLIENT], CLIENT),
        ("1", PROXY, [FORGED, CLIENT], CLIENT),
        ("2", PROXY, [FORGED, CLIENT, "10.0.0.8"], CLIENT),
        ("2", PROXY, [CLIENT], CLIENT),
        ("1", PROXY, [], PROXY),
        ("1", "", [CLIENT], CLIENT),
        # Networks: as far as the entries are proxies.
        ("10.0.0.0/8", PROXY, [CLIENT], CLIENT),
        ("10.0.0.0/8", PROXY, [FORGED, CLIENT, "10.0.0.8"], CLIENT),
        ("10.0.0.9", PROXY, [FORGED, CLIENT], CLIENT),
        ("10.0.0.0/8, fd00::/8", "fd00::1", [FORGED, CLIENT], CLIENT),
        ("10.0.0.0/8", CLIENT, [FORGED], CLIENT),
        ("10.0.0.0/8", "::ffff:10.0.0.9", [CLIENT], CLIENT),
        ("10.0.0.0/8", "", [FORGED], "unknown"),
        # What a trusted proxy would not have written ends the search.
        ("1", PROXY, [CLIENT, "unknown"], PROXY),
        ("1", PROXY, [CLIENT, ""], PROXY),
        ("2", PROXY, ["<script>", "10.0.0.8"], "10.0.0.8"),
        ("1", PROXY, ["1.2.3.4.5"], PROXY),
        # Forms that proxies write.
        ("1", PROXY, [f"{CLIENT}:4711"], CLIENT),
        ("1", PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("1", PROXY, ["[2001:db8::1]"], "2001:db8::1"),
        ("1", PROXY, ["2001:DB8::1"], "2001:db8::1"),
        ("1", PROXY, ["::ffff:203.0.113.7"], CLIENT),
        ("1", PROXY, ["fe80::1%eth0"], PROXY),
        ("", "fe80::1%eth0", [], "fe80::1"),
    ],
)
def test_the_client_is_whom_the_outermost_trusted_proxy_saw(
    trusted: str, peer: str, forwarded: list[str], expected: str
) -> None:
    assert client(trusted, peer, *forwarded) == expected


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "proxies"),
    [
        ("", PROXY, [CLIENT], 0),
        ("2", PROXY, [CLIENT], 2),
        ("10.0.0.0/8", CLIENT, [FORGED], 0),
        ("10.0.0.0/8", PROXY, [CLIENT], 1),
    ],
)
def test_only_trusted_proxies_are_counted(
    trusted: str, peer: str, forwarded: list[str], proxies: int
) -> None:
    found = parse_trusted_proxies(trusted) if trusted else TrustedProxies()
    assert isinstance(found, TrustedProxies)
    assert resolve_client(peer, forwarded, found).proxies == proxies


def test_an_ipv6_client_is_its_network() -> None:
    assert client_network("2001:db8::1") == client_network("2001:db8::ffff") == "2001:db8::/64"
    assert client_network("2001:db8:0:1::1") != client_network("2001:db8::1")
    assert client_network("192.0.2.1") == "192.0.2.1"
    assert client_network("unknown") == "unknown"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("true", "no network"),
        ("0", "from 1 to 10"),
        ("11", "from 1 to 10"),
        ("10.0.0.1/8", "not the first one"),
        ("10.0.0.0/8,", "no network"),
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(value: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"KNOUDS_TRUSTED_PROXIES": value}, None)
    assert str(caught.value).startswith("KNOUDS_TRUSTED_PROXIES: ")
    assert says in str(caught.value)
    assert "as 10.0.0.0/8" in str(caught.value)


def test_hops_and_networks_are_read() -> None:
    assert load({"KNOUDS_TRUSTED_PROXIES": "2"}, None).trusted_proxies.hops == 2
    networks = load({"KNOUDS_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}, None).trusted_proxies.networks
    assert [str(network) for network in networks] == ["10.0.0.0/8", "::1/128"]
    assert load({}, None).trusted_proxies == TrustedProxies()
