"""What the doctor says of a readable `.env`, and of a Redis elsewhere without password or TLS."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from config.settings import Settings
from worker.doctor.exposure import judge_exposure


def levels(url: str | None, env_file: Path) -> dict[str, str]:
    settings = Settings(redis_url=SecretStr(url) if url else None)
    return {one.name: one.level.value for one in judge_exposure(settings, env_file)}


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, "ok"), (0o400, "ok"), (0o640, "warn"), (0o604, "warn")]
)
def test_an_env_file_that_others_may_read_is_named(tmp_path: Path, mode: int, level: str) -> None:
    file = tmp_path / ".env"
    file.write_text("KNOUDS_API_KEY=x\n")
    file.chmod(mode)
    assert levels(None, file) == {"settings.env_file": level}
    assert levels(None, tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis:6379/0", {"redis.password": "warn", "redis.tls": "warn"}),
        ("redis://:secret@10.0.0.5:6379", {"redis.tls": "warn"}),
        ("rediss://redis.example:6379", {"redis.password": "warn"}),
        ("rediss://app:secret@redis.example:6379", {"redis.tls": "ok"}),
        ("redis+sentinel://:secret@a:26379,b/main", {"redis.tls": "warn"}),
        ("redis://localhost:6379", {}),
        ("redis://127.0.0.1:6379", {}),
        ("redis://[::1]:6379", {}),
    ],
)
def test_a_redis_elsewhere_needs_a_password_and_tls(
    tmp_path: Path, url: str, expected: dict[str, str]
) -> None:
    assert levels(url, tmp_path / "none") == expected
