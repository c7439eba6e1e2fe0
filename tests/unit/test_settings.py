"""Settings: their defaults, their bounds, and the one-line error of a wrong one."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from config.environment import load
from config.redis_address import Sentinel, parse_sentinel
from config.settings import Settings, SettingsError
from config.values import ApiToken, Role

SECRET = "knouds_live_do_not_show"  # appears in wrong values, never in a message


def read(**values: str) -> Settings:
    """Load from an environment with these names, given without the prefix."""
    return load({f"KNOUDS_{name.upper()}": value for name, value in values.items()}, None)


def refusal(environ: Mapping[str, str], env_file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        load(environ, env_file)
    line = str(refused.value)
    assert "\n" not in line
    assert SECRET not in line
    return line


# --- Defaults and single values ------------------------------------------------------------------


def test_nothing_needs_to_be_set() -> None:
    settings = load({}, None)
    assert settings.accounts == {}
    assert settings.redis_url is None
    assert settings.base_url == "https://knouds.ai"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.retention_s == 7 * 86_400
    assert settings.max_body_bytes == 8 * 1024 * 1024


def test_settings_built_in_code_do_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KNOUDS_NAMESPACE", "elsewhere")
    assert Settings().namespace == "knouds"
    assert load(env_file=None).namespace == "elsewhere"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load({}, None).max_jobs = 3


def test_names_of_other_programs_are_ignored() -> None:
    assert load({"PATH": "/bin", "COMPOSE_FILE": "x"}, None) == Settings()


def test_an_empty_value_counts_as_not_set() -> None:
    assert read(api_key="", http_port=" ") == Settings()


def test_words_are_read_in_any_case() -> None:
    settings = read(log_level="INFO", log_format="Json")
    assert (settings.log_level, settings.log_format) == ("info", "json")


def test_secrets_do_not_show_in_the_settings_text() -> None:
    settings = read(
        api_key=SECRET,
        api_keys=json.dumps({"studio": SECRET + "2"}),
        api_tokens=f"app:read:{SECRET}",
        redis_url=f"redis://:{SECRET}@redis:6379/0",
        webhook_secret=SECRET,
        api_token=SECRET,
    )
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("base_url", "knouds.ai"),
        ("base_url", f"https://user:{SECRET}@knouds.ai"),
        ("base_url", "https://knouds.ai:http"),
        ("redis_url", "localhost:6379"),
        ("redis_url", "redis://"),
        ("redis_url", "redis://host/0/1"),
        ("redis_url", f"redis://:{SECRET}/x@host"),
        ("redis_url", f"redis://[{SECRET}/0"),
        ("redis_url", "redis+sentinel://a:1,b:2"),
        ("redis_url", f"redis+sentinel://user:{SECRET}/x@host/service"),
        ("redis_url", "redis+sentinel://a,,b/service"),
        ("namespace", "With Space"),
        ("namespace", "n" * 33),
        ("http_port", "65536"),
        ("http_port", "eighty"),
        ("max_jobs", "0"),
        ("max_jobs", "1.5"),
        ("max_attempts", "-1"),
        ("poll_missing_limit", "0"),
        ("sync_timeout_s", "0"),
        ("sync_timeout_s", "nan"),
        ("run_deadline_s", "inf"),
        ("max_inputs_bytes", "12"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("api_key", f"{SECRET}\nKNOUDS"),
        ("api_key", f"{SECRET} x"),
        ("webhook_secret", "short"),
        ("api_keys", SECRET),
        ("api_keys", f'["{SECRET}"]'),
        ("api_keys", f'{{"{SECRET} ": "studio"}}'),
        ("api_keys", f'{{"a": "{SECRET}", "a": "{SECRET}"}}'),
        ("api_keys", f'{{"a": ["{SECRET}"]}}'),
        ("lane_caps", '{"default": 0}'),
        ("lane_caps", '{"default/image": 1}'),
        ("lane_caps", '{"default/model/a/b": 1}'),
        ("error_rules", '{"EXECUTION_FAILED": "forget"}'),
        ("error_rules", '{"NOT A CODE": "dead"}'),
        ("api_tokens", "app"),
        ("api_tokens", f"app:boss:{SECRET}"),
        ("api_tokens", "app:read:tooshort"),
        ("api_tokens", f"app:read:{SECRET},app:read:{SECRET}2"),
        ("api_tokens", f"app:read:{SECRET},other:read:{SECRET}"),
        ("api_tokens", f"app:read:{SECRET},"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_with_its_name_and_what_is_expected(
    name: str, wrong: str
) -> None:
    line = refusal({f"KNOUDS_{name.upper()}": wrong})
    assert re.match(rf"KNOUDS_{name.upper()}: .+; expected: .+", line)


def test_several_wrong_values_are_named_together() -> None:
    line = refusal({"KNOUDS_HTTP_PORT": "x", "KNOUDS_MAX_JOBS": "x", "KNOUDS_NAMESPACE": "X"})
    assert line.startswith("KNOUDS_")
    assert all(f"KNOUDS_{name}" in line for name in ("HTTP_PORT", "MAX_JOBS", "NAMESPACE"))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("poll_min_s", "poll_max_s"),
        ("retry_base_s", "retry_cap_s"),
        ("connect_timeout_s", "submit_timeout_s"),
        ("connect_timeout_s", "sync_timeout_s"),
        ("max_inputs_bytes", "max_body_bytes"),
    ],
)
def test_bounds_that_cross_are_refused(low: str, high: str) -> None:
    names = [f"KNOUDS_{low.upper()}", f"KNOUDS_{high.upper()}"]
    wide = {"KNOUDS_SUBMIT_TIMEOUT_S": "9000"}
    line = refusal({**wide, **dict(zip(names, ("5000", "4000"), strict=True))})
    assert all(name in line for name in names)


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("KNOUDS_HTTP_PROT", "KNOUDS_HTTP_PORT"),
        ("KNOUDS_APIKEY", "KNOUDS_API_KEY"),
        ("knouds_namespace", "KNOUDS_NAMESPACE"),
    ],
)
def test_an_unknown_name_is_refused_with_the_one_that_was_meant(wrong: str, meant: str) -> None:
    line = refusal({wrong: SECRET})
    assert line.startswith(f"{wrong}: ")
    assert f"did you mean {meant}?" in line


def test_an_unknown_name_without_a_similar_one_is_refused_too() -> None:
    assert refusal({"KNOUDS_XYZZY": "1"}).startswith("KNOUDS_XYZZY: there is no such setting")


def test_an_unknown_name_is_refused_even_when_empty() -> None:
    assert refusal({"KNOUDS_HTTP_PROT": ""})


# --- The file ------------------------------------------------------------------------------------


def test_the_environment_takes_precedence_over_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        "# comment\nexport KNOUDS_NAMESPACE='file'\nKNOUDS_MAX_JOBS=7 # why\nOTHER=x\n"
        'KNOUDS_LANE_CAPS={"*": 9}\nKNOUDS_API_KEY=a$b${c}\n'
    )
    settings = load({"KNOUDS_NAMESPACE": "environ"}, env_file)
    assert (settings.namespace, settings.max_jobs) == ("environ", 7)
    assert settings.lane_caps == {"*": 9}
    assert settings.accounts["default"].get_secret_value() == "a$b${c}"


def test_a_missing_file_is_not_an_error(tmp_path: Path) -> None:
    assert load({}, tmp_path / ".env") == Settings()


@pytest.mark.parametrize("line", [f"KNOUDS_API_KEY '{SECRET}'", "KNOUDS_API_KEY", "'"])
def test_the_error_of_an_unreadable_line_has_its_number(tmp_path: Path, line: str) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"KNOUDS_MAX_JOBS=7\n{line}\n")
    assert f"{env_file} line 2" in refusal({}, env_file)


def test_the_error_of_a_file_that_is_not_text_has_its_name(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_bytes(b"KNOUDS_API_KEY=\xff\xfe")
    assert str(env_file) in refusal({}, env_file)


def test_an_unknown_name_in_the_file_stops_the_start(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("KNOUDS_HTTP_PROT=1\n")
    assert "KNOUDS_HTTP_PORT" in refusal({}, env_file)


# --- Accounts, tokens, addresses -----------------------------------------------------------------


def test_accounts_are_the_default_key_and_the_labelled_ones() -> None:
    accounts = read(api_key="k1", api_keys='{"studio": "k2"}').accounts
    assert {label: key.get_secret_value() for label, key in accounts.items()} == {
        "default": "k1",
        "studio": "k2",
    }


def test_two_keys_for_the_default_account_are_refused() -> None:
    line = refusal({"KNOUDS_API_KEY": SECRET, "KNOUDS_API_KEYS": f'{{"default": "{SECRET}"}}'})
    assert "KNOUDS_API_KEYS" in line
    assert "KNOUDS_API_KEY " in line


def test_a_token_is_name_role_and_secret_which_may_hold_colons() -> None:
    (app, ops) = read(api_tokens=f"app:enqueue:{SECRET}, ops:operate:{SECRET}:2").api_tokens
    assert isinstance(app, ApiToken)
    assert app == ApiToken("app", Role.ENQUEUE, SecretStr(SECRET))
    assert ops == ApiToken("ops", Role.OPERATE, SecretStr(f"{SECRET}:2"))


@pytest.mark.parametrize("held", Role)
@pytest.mark.parametrize("needed", Role)
def test_each_role_covers_those_before_it(held: Role, needed: Role) -> None:
    ranks = [Role.ENQUEUE, Role.WATCH, Role.READ, Role.OPERATE]
    assert held.covers(needed) == (ranks.index(held) >= ranks.index(needed))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_loopback_is_served_without_tokens(host: str) -> None:
    read(http_host=host).require_tokens()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "knouds.internal"])  # noqa: S104
def test_other_addresses_need_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match=r"KNOUDS_HTTP_HOST: .*KNOUDS_API_TOKENS"):
        read(http_host=host).require_tokens()
    read(http_host=host, api_tokens=f"app:read:{SECRET}").require_tokens()


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"http_host": "0.0.0.0", "http_port": "9"}, "http://127.0.0.1:9"),  # noqa: S104
        ({"http_host": "::"}, "http://[::1]:8080"),
        ({"api_url": "https://jobs.example/knouds/"}, "https://jobs.example/knouds"),
    ],
)
def test_the_command_line_finds_the_api(values: dict[str, str], url: str) -> None:
    assert read(**values).cli_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://host:6379/3",
        "rediss://user:pass@host:6380/0",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock",
        "redis+sentinel://a:26379,b:26379/main/0",
    ],
)
def test_redis_is_reached_by_tls_socket_and_sentinel_too(url: str) -> None:
    held = read(redis_url=url).redis_url
    assert held is not None
    assert held.get_secret_value() == url


def test_a_sentinel_url_is_parsed() -> None:
    sentinel = parse_sentinel("redis+sentinel://u:p%40@a:1,b,[::1]:3/main/2")
    assert isinstance(sentinel, Sentinel)
    assert sentinel.nodes == (("a", 1), ("b", 26379), ("::1", 3))
    assert (sentinel.service, sentinel.db, sentinel.username) == ("main", 2, "u")
    assert sentinel.password is not None
    assert sentinel.password.get_secret_value() == "p@"


def test_a_plain_redis_url_is_no_sentinel() -> None:
    assert parse_sentinel("redis://host") is None
    assert read(redis_url="redis://host").sentinel is None


def test_every_secret_is_redacted() -> None:
    settings = read(
        api_key="k1",
        api_keys='{"studio": "k2"}',
        api_tokens="app:read:0123456789abcdef",
        redis_url="rediss://user:p%40ss@host",
        webhook_secret="whsec_0123456789abcdef",
        api_token="0123456789abcdef-cli",
    )
    assert settings.secret_values == {
        "k1",
        "k2",
        "0123456789abcdef",
        "p%40ss",
        "p@ss",
        "whsec_0123456789abcdef",
        "0123456789abcdef-cli",
    }


def test_shared_accounts_are_labels_separated_by_commas() -> None:
    found = load({"KNOUDS_SHARED_ACCOUNTS": "default, studio"}, None)
    assert found.shared_accounts == ("default", "studio")
    with pytest.raises(SettingsError, match=r"KNOUDS_SHARED_ACCOUNTS.*an account label"):
        load({"KNOUDS_SHARED_ACCOUNTS": "default,Not A Label"}, None)
    assert load({"KNOUDS_ON_UNCERTAIN": "Reconcile"}, None).on_uncertain == "reconcile"
    with pytest.raises(SettingsError, match="KNOUDS_ON_UNCERTAIN"):
        load({"KNOUDS_ON_UNCERTAIN": "hope"}, None)


def test_a_default_that_depends_on_a_wrong_setting_is_not_called_wrong() -> None:
    with pytest.raises(SettingsError) as error:
        load({"KNOUDS_SYNC_TIMEOUT_S": "soon", "KNOUDS_MAX_JOBS": "abc"}, env_file=None)
    assert "KNOUDS_SHUTDOWN_GRACE_S" not in str(error.value)
    assert {"KNOUDS_SYNC_TIMEOUT_S", "KNOUDS_MAX_JOBS"} <= set(re.findall(r"\w+", str(error.value)))


def test_a_tls_sentinel_url_has_two_logins_and_the_authority() -> None:
    url = "rediss+sentinel://app:one@a/main?sentinel_username=s&sentinel_password=t%26%2B&ssl_check_hostname=true"
    sentinel = parse_sentinel(url)
    assert sentinel is not None
    assert sentinel.is_tls
    assert (sentinel.username, sentinel.sentinel_username) == ("app", "s")
    assert sentinel.sentinel_password is not None
    assert sentinel.sentinel_password.get_secret_value() == "t&+"
    assert sentinel.options == {"ssl_check_hostname": True}
    assert {"one", "t&+", "t%26%2B"} <= read(redis_url=url).secret_values


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://host?protocol=3", "protocol in its query is not known"),
        ("redis://host?decode_responses=True", "decode_responses in its query is not known"),
        ("redis://host/0?bogus=1", "bogus in its query is not known"),
        ("unix:///run/redis.sock?protocol=3", "protocol in its query is not known"),
        ("redis+sentinel://a/main?protocol=3", "protocol in its query is not known"),
        ("redis://host?sentinel_password=x", "sentinel_password in its query is not known"),
        (f"redis://:{SECRET}?{SECRET}@host", "no readable host"),
        (f"redis://:{SECRET}#{SECRET}@host", "no readable host"),
        ("redis://host?ssl_ca_certs=x", "ssl_ca_certs in its query needs a URL that begins with"),
        ("rediss://host?ssl_ca_certs=/no/such", "ssl_ca_certs in its query names a file that cann"),
        (f"rediss://host?ssl_ca_certs={__file__}", "holds no certificate"),
        ("rediss://host?ssl_certfile=/dev/null", "ssl_keyfile is missing"),
        ("rediss://host?ssl_cert_reqs=maybe", "neither required nor none"),
        ("redis://host?db=x", "db in its query is not the number"),
        ("redis://host?socket_timeout=0", "socket_timeout in its query is not a number of seconds"),
        ("redis://host?db=1&db=2", "db in its query is given twice"),
        ("redis://host/0?db=5", "names database 0 after the host and db=5 in its query"),
        ("redis+sentinel://a/main/1?db=5", "names database 1 after the host and db=5 in its query"),
        (
            "rediss://host?ssl_check_hostname=true&ssl_cert_reqs=none",
            "ssl_check_hostname=true in its query needs ssl_cert_reqs=required",
        ),
        (
            "redis+sentinel://a/main?sentinel_username=u",
            "sentinel_password in its query is missing",
        ),
    ],
)
def test_a_field_of_the_redis_url_that_cannot_work_is_named(url: str, words: str) -> None:
    line = refusal({"KNOUDS_REDIS_URL": url})
    assert line.startswith("KNOUDS_REDIS_URL: ")
    assert words in line
