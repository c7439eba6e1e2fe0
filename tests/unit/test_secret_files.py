"""Secrets in files, and the keys of payloads."""

import base64
from pathlib import Path

import pytest

from config.environment import load
from config.secret_files import SECRET_FIELDS
from config.settings import Settings, SettingsError

KEYS = [base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
VALUES = {
    "api_key": "knouds_live_1",
    "api_keys": '{"studio": "knouds_live_2"}',
    "api_token": "0123456789abcdef",
    "callback_secret": "whsec_" + "QUFB" * 11,
    "payload_keys": KEYS[0],
    "proxy_url": "http://u:p@proxy:3128",
    "redis_url": "redis://:p@redis:6379/0",
    "webhook_secret": "0123456789abcdef",
}


@pytest.mark.parametrize("field", SECRET_FIELDS)
def test_each_secret_can_stand_in_a_file(tmp_path: Path, field: str) -> None:
    file = tmp_path / "secret"
    file.write_text(VALUES[field] + "\n")
    name = f"KNOUDS_{field.upper()}"
    assert load({f"{name}_FILE": str(file)}, None) == load({name: VALUES[field]}, None)


def test_every_secret_of_the_settings_has_a_file() -> None:
    secret = {n for n, f in Settings.model_fields.items() if "SecretStr" in str(f.annotation)}
    assert set(SECRET_FIELDS) == set(VALUES)
    assert secret - set(SECRET_FIELDS) == set()


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    environ = {"KNOUDS_API_KEY": "knouds_live_1", "KNOUDS_API_KEY_FILE": str(tmp_path / "x")}
    with pytest.raises(SettingsError, match="KNOUDS_API_KEY and KNOUDS_API_KEY_FILE: both are set"):
        load(environ, None)


@pytest.mark.parametrize(("content", "why"), [(None, "cannot be read"), (b"\n", "empty")])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"KNOUDS_WEBHOOK_SECRET_FILE: the file .*{why}"):
        load({"KNOUDS_WEBHOOK_SECRET_FILE": str(file)}, None)


def test_payload_keys_are_read_in_order_and_redacted() -> None:
    settings = load({"KNOUDS_PAYLOAD_KEYS": ", ".join(KEYS)}, None)
    assert settings.plain_payload_keys == (bytes([1]) * 32, bytes([2]) * 32)
    assert settings.secret_values >= set(KEYS)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("short", "not 32 bytes in base64"),
        (f"{KEYS[0]},", "not 32 bytes in base64"),
        (KEYS[0][:-4], "not 32 bytes in base64"),
        ("!" * 44, "not 32 bytes in base64"),
        (f"{KEYS[0]},{KEYS[0]}", "given twice"),
    ],
)
def test_a_wrong_key_is_refused_without_showing_it(value: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"KNOUDS_PAYLOAD_KEYS: .*{why}") as refused:
        load({"KNOUDS_PAYLOAD_KEYS": value}, None)
    assert value not in str(refused.value)
