"""`KNOUDS_WEBHOOK_SECRET`: one secret, or several while one replaces another."""

import pytest

from config.environment import load
from config.settings import Settings, SettingsError
from tests.webhooks.webhook_system import NEXT_SECRET, SECRET


def read(value: str) -> Settings:
    return load({"KNOUDS_WEBHOOK_SECRET": value}, None)


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("", []),
        (SECRET, [SECRET]),
        (f"{SECRET},{NEXT_SECRET}", [SECRET, NEXT_SECRET]),
        (f"{SECRET} , {NEXT_SECRET}", [SECRET, NEXT_SECRET]),
        ("x" * 256, ["x" * 256]),
    ],
)
def test_secrets_are_read(value: str, secrets: list[str]) -> None:
    settings = read(value)
    assert [secret.get_secret_value() for secret in settings.webhook_secrets] == secrets
    assert set(secrets) == set(settings.secret_values)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    "value",
    ["short", "x" * 257, f"{SECRET},", f",{SECRET}", f"{SECRET},short", f"{SECRET},{SECRET}"],
)
def test_a_wrong_secret_stops_the_start_and_is_not_shown(value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(value)
    line = str(refused.value)
    assert line.startswith("KNOUDS_WEBHOOK_SECRET")
    assert SECRET not in line
