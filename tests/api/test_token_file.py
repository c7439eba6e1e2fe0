"""Tokens of a file: what they may enqueue, until when they are valid, and how they change."""

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from config.settings import Settings
from config.values import ApiToken, Role
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.cookie_browser import browsing
from worker.store import Store

OPERATOR = "operator-0123456789"


def secret_of(name: str) -> str:
    return f"{name}-0123456789abcdef"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret_of(name)}"}


def entry(name: str, role: str = "enqueue", **facts: object) -> dict[str, object]:
    return {"name": name, "role": role, "secret": secret_of(name), **facts}


class TokenFile:
    """The file of tokens, as an operator edits it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *entries: dict[str, object]) -> None:
        """Replace the file in one step."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(entries))
        new.replace(self.path)


@pytest.fixture
def token_file(tmp_path: Path) -> TokenFile:
    found = TokenFile(tmp_path / "tokens.json")
    found.write(
        entry("any"),
        entry("narrow", accounts=["studio"], kinds=["model"], targets=["studio-*", "suno"]),
        entry("old", expires_at="2020-01-01T00:00:00Z"),
        entry("ops", "operate"),
    )
    return found


@pytest.fixture
async def guarded(
    store: Store, namespace: str, open_api: OpenApi, token_file: TokenFile
) -> AsyncGenerator[CheckedApi]:
    environment = (ApiToken("env", Role.OPERATE, SecretStr(OPERATOR)),)
    settings = Settings(
        namespace=namespace,
        http_port=0,
        api_tokens=environment,
        api_tokens_file=token_file.path,
    )
    async with open_api(store, settings) as api:
        yield api


async def status(api: CheckedApi, name: str) -> int:
    return (await api.post("/v1/jobs", REQUEST, headers=bearer(name))).status


async def test_tokens_of_the_file_stand_beside_those_of_the_environment(
    guarded: CheckedApi,
) -> None:
    assert await status(guarded, "any") == 202
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    assert (await guarded.call("GET", "/v1/jobs", headers=headers)).status == 200


async def test_an_expired_token_is_no_token(guarded: CheckedApi) -> None:
    assert await status(guarded, "old") == 401


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"account": "default"}, "account"),
        ({"kind": "workflow"}, "kind"),
        ({"target": "gpt-image-2"}, "target"),
        ({"target": "a-studio-x"}, "target"),
    ],
)
async def test_a_token_enqueues_only_what_it_is_granted(
    guarded: CheckedApi, facts: dict[str, object], field: str
) -> None:
    granted = {**REQUEST, "account": "studio", "target": "studio-cats"}
    refused = await guarded.post("/v1/jobs", granted | facts, headers=bearer("narrow"))
    assert (refused.status, refused.field) == (403, field)
    body = {"jobs": [granted, granted | facts, granted | {"target": "suno"}]}
    bulk = await guarded.post("/v1/jobs/bulk", body, headers=bearer("narrow"))
    assert [row["status"] for row in bulk.json["results"]] == [202, 403, 202]


async def test_a_revoked_token_and_its_sessions_end_without_a_restart(
    guarded: CheckedApi, token_file: TokenFile
) -> None:
    async with browsing(guarded.url) as browser:
        await browser.log_in(secret_of("ops"))
        assert (await browser.get("/v1/stats")).status == 200
        assert await status(guarded, "any") == 202
        token_file.write(entry("other"))
        assert await status(guarded, "any") == 401
        assert await status(guarded, "other") == 202
        assert (await browser.get("/v1/stats")).status == 401


@pytest.mark.parametrize("damage", ["gone", "wrong"])
async def test_a_file_that_cannot_be_read_keeps_the_tokens_and_says_so_once(
    guarded: CheckedApi, token_file: TokenFile, damage: str
) -> None:
    with capture_logs() as logs:
        if damage == "gone":
            token_file.path.unlink()
        else:
            token_file.write({"name": "any", "role": "boss"})
        for _ in range(3):
            assert await status(guarded, "any") == 202
    assert [line["event"] for line in _about_tokens(logs)] == ["api_tokens.not_read"]
    with capture_logs() as logs:
        token_file.write(entry("other"))
        assert await status(guarded, "any") == 401
    assert [line["event"] for line in _about_tokens(logs)] == ["api_tokens.read"]


def _about_tokens(logs: Sequence[Any]) -> list[Any]:
    return [line for line in logs if line["event"].startswith("api_tokens.")]


async def test_a_file_without_tokens_lets_nobody_in(
    store: Store, namespace: str, open_api: OpenApi, token_file: TokenFile
) -> None:
    token_file.write()
    settings = Settings(namespace=namespace, http_port=0, api_tokens_file=token_file.path)
    async with open_api(store, settings) as api:
        assert (await api.get("/v1/jobs")).status == 401
