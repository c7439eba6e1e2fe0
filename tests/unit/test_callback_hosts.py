"""Callbacks go where the operator said and nowhere else: URLs, names, addresses."""

import pytest

from config.callback_hosts import CallbackHosts, CallbackUrlError, parse_callback_url
from config.environment import load
from config.settings import SettingsError

HOSTS = CallbackHosts(
    (
        "hooks.example.com",
        "*.example.org",
        "odd.example.com:8443",
        "http://127.0.0.1:9000",
        "http://plain.example.com",
        "https://[fd00::5]:9443",
        "10.1.0.0/16",
        "fd00:aa::/32",
    )
)

ALLOWED = (
    "https://hooks.example.com/a?b=c%20d",
    "https://HOOKS.example.com:443",
    "https://deep.er.example.org/",
    "https://odd.example.com:8443/x",
    "http://127.0.0.1:9000/",
    "http://plain.example.com/",
    "https://[FD00:0::5]:9443/",
)

NOT_LISTED = (
    "http://hooks.example.com/",
    "https://hooks.example.com:8443/",
    "https://hooks.example.com.evil.net/",
    "https://evilexample.org/",
    "https://example.org/",
    "https://plain.example.com/",
    "http://127.0.0.1:9001/",
    "http://127.0.0.2:9000/",
    "http://10.1.2.3/",
    "https://[::ffff:127.0.0.1]:9000/",
    "https://localhost/",
    "https://169.254.169.254/latest/meta-data",
)

MALFORMED = (
    "https://2130706433/",
    "http://0x7f000001:9000/",
    "http://0x7f.1:9000/",
    "http://127.1:9000/",
    "http://0177.0.0.1:9000/",
    "http://127.0.0.01:9000/",
    "https://hooks.example.com./",
    "https://hooks.example.com\\@evil.net/",
    "https://user@hooks.example.com/",
    "https://user:pass@hooks.example.com/",
    "https://hooks.example.com/#part",
    "https://hooks.example.com/ x",
    "https://hooks.example.com/\r\nHost: evil.net",
    "https://hooks。example。com/",
    "https://ⓗooks.example.com/",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:99999/",
    "https://hooks.example.com:80:443/",
    "https://[::1/",
    "https://[hooks.example.com]/",
    "https://[fe80::1%25eth0]/",
    "https:///path",
    "https:hooks.example.com",
    "//hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "",
    "https://hooks.example.com/" + "x" * 3_000,
)


@pytest.mark.parametrize("url", ALLOWED)
def test_what_is_listed_is_allowed(url: str) -> None:
    assert HOSTS.check(url).url == url


@pytest.mark.parametrize("url", NOT_LISTED)
def test_what_is_not_listed_is_refused_by_the_name_of_the_setting(url: str) -> None:
    with pytest.raises(CallbackUrlError, match="KNOUDS_CALLBACK_HOSTS does not list"):
        HOSTS.check(url)


@pytest.mark.parametrize("url", MALFORMED)
def test_what_two_programs_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(CallbackUrlError):
        parse_callback_url(url)


def test_without_hosts_nothing_is_allowed() -> None:
    with pytest.raises(CallbackUrlError, match="off until KNOUDS_CALLBACK_HOSTS"):
        CallbackHosts().check("https://hooks.example.com/")


PUBLIC = ("8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8")
LISTED = ("10.1.255.255", "::ffff:10.1.0.1", "64:ff9b::a01:1", "fd00:aa::1")
REFUSED = (
    *("0.0.0.0", "10.0.0.1", "10.2.0.1", "100.64.0.1", "127.0.0.1", "127.9.9.9"),  # noqa: S104
    *("169.254.169.254", "172.16.0.1", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1"),
    *("255.255.255.255", "192.88.99.1", "::", "::1", "::7f00:1", "::ffff:127.0.0.1"),
    *("::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::a00:1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::"),
    *("3fff::1", "fc00::1", "fd00::1", "fd00:ab::1", "fe80::1", "fe80::1%eth0", "fec0::1"),
    *("ff02::1", "5f00::1", "hooks.example.com", ""),
)


@pytest.mark.parametrize("address", [*PUBLIC, *LISTED])
def test_public_and_listed_addresses_may_be_connected_to(address: str) -> None:
    assert HOSTS.allows_address(address, 443)


@pytest.mark.parametrize("address", REFUSED)
def test_all_other_addresses_may_not(address: str) -> None:
    assert not HOSTS.allows_address(address, 443)


def test_a_listed_address_is_allowed_at_its_port_alone() -> None:
    assert HOSTS.allows_address("127.0.0.1", 9000)
    assert HOSTS.allows_address("::ffff:127.0.0.1", 9000)
    assert not HOSTS.allows_address("127.0.0.1", 6379)


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*", "*.", "a..b", "10.0.0.1/8", "https://x.com/path", "x.com:0", "x.com:70000"),
        *("x y", "2130706433", "ftp://x.com", "user@x.com", "*.*.com", "[::1"),
    ],
)
def test_an_entry_that_is_no_host_stops_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="entry 2"):
        CallbackHosts(("hooks.example.com", entry))


GOOD = {
    "KNOUDS_CALLBACK_HOSTS": "hooks.example.com,*.example.org",
    "KNOUDS_CALLBACK_SECRET": "whsec_" + "QUFB" * 11,
}


def test_the_settings_read_hosts_secrets_and_urls() -> None:
    urls = '{"studio": "https://a.example.org/s", "*": "https://hooks.example.com/all"}'
    settings = load(GOOD | {"KNOUDS_CALLBACK_URL": urls}, None)
    assert settings.default_callback_url("studio") == "https://a.example.org/s"
    assert settings.default_callback_url("default") == "https://hooks.example.com/all"
    plain = load(GOOD | {"KNOUDS_CALLBACK_URL": "https://hooks.example.com/one"}, None)
    assert plain.default_callback_url("any") == "https://hooks.example.com/one"
    assert GOOD["KNOUDS_CALLBACK_SECRET"] in settings.secret_values
    assert "QUFB" not in repr(settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"KNOUDS_CALLBACK_SECRET": ""}, "KNOUDS_CALLBACK_SECRET: is missing"),
        ({"KNOUDS_CALLBACK_SECRET": "whsec_short"}, "24 to 64 bytes"),
        ({"KNOUDS_CALLBACK_SECRET": "QUFB" * 11}, "whsec_"),
        ({"KNOUDS_CALLBACK_HOSTS": "hooks example"}, "entry 1"),
        ({"KNOUDS_CALLBACK_URL": "https://other.example.com/"}, "KNOUDS_CALLBACK_URL: the URL"),
        ({"KNOUDS_CALLBACK_URL": '{"a": 1}'}, "KNOUDS_CALLBACK_URL"),
        ({"KNOUDS_CALLBACK_URL": "{"}, "neither a URL nor a JSON object"),
    ],
)
def test_a_wrong_setting_stops_the_start(changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as stopped:
        load(GOOD | changes, None)
    assert "QUFB" not in str(stopped.value)
