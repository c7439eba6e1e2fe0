"""Requests with several credentials: who is served, on routes, pages and at the login.

| `Authorization`                        | session | user of the proxy | served as          |
|----------------------------------------|---------|-------------------|--------------------|
| a right token                          | any     | any               | the token          |
| wrong, empty, twice, of another scheme | any     | any               | nobody: 401        |
| none                                   | open    | any               | the session        |
| none                                   | none    | with a group      | the user           |
| none                                   | none    | without a group   | nobody: 403        |
| none                                   | none    | none              | nobody: 401, login |

An ended session is none.
"""

import re
from collections.abc import AsyncGenerator
from itertools import product
from typing import Final

import aiohttp
import pytest
from pydantic import SecretStr

from config.settings import Settings
from config.trusted_proxies import TrustedProxies
from config.values import ApiToken, Role
from tests.api.conftest import OpenApi
from worker.api.auth.access import COOKIE
from worker.store import Store

TOKENS: Final = (
    ApiToken("ops", Role.OPERATE, SecretStr("ops-0123456789abcdef")),
    ApiToken("eyes", Role.WATCH, SecretStr("eyes-0123456789abcdef")),
)
RIGHT: Final = "Bearer eyes-0123456789abcdef"
WRONG: Final = (
    ("Bearer wrong-0123456789abcdef",),
    ("",),
    ("Bearer ",),
    ("Basic b3BzOm9wcw==",),
    (RIGHT, "Bearer wrong-0123456789abcdef"),
    (RIGHT, RIGHT),
)
SERVED: Final = {"ops": (200, 200, 200), "ann": (403, 200, 200), "eyes": (403, 403, 200)}
"""`/v1/sessions` needs operate, `/v1/audit` read and `/v1/stats` watch: each has another role."""
PATHS: Final = ("/v1/sessions", "/v1/audit", "/v1/stats")
SESSIONS: Final = ("none", "open", "ended")
USERS: Final = ("none", "in a group", "in no group")


class CredentialSender:
    """Sends requests with any mix of credentials."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http
        self._cookies = {"ended": "no-such-session"}

    async def log_in(self) -> None:
        """Open the session `open`."""
        async with self._http.post(
            self._url + "/login",
            data={"token": "ops-0123456789abcdef"},
            allow_redirects=False,
        ) as answer:
            assert answer.status == 303
            self._cookies["open"] = answer.cookies[COOKIE].value

    async def status(
        self, path: str, authorization: tuple[str, ...], session: str, user: str, accept: str = ""
    ) -> tuple[int, str]:
        """Status and body of a GET."""
        headers = [("X-Forwarded-For", "10.1.1.1"), ("Accept", accept or "application/json")]
        headers += [("Authorization", line) for line in authorization]
        if session != "none":
            headers.append(("Cookie", f"{COOKIE}={self._cookies[session]}"))
        if user != "none":
            groups = "readers" if user == "in a group" else "others"
            headers += [("X-Forwarded-Email", "ann"), ("X-Forwarded-Groups", groups)]
        async with self._http.get(
            self._url + path, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text()

    async def log_in_with(self, authorization: tuple[str, ...]) -> int:
        """The status of a login with a right token in the form."""
        headers = [("Authorization", line) for line in authorization]
        async with self._http.post(
            self._url + "/login",
            data={"token": "ops-0123456789abcdef"},
            headers=headers,
            allow_redirects=False,
        ) as answer:
            return answer.status


@pytest.fixture
async def sender(
    store: Store, namespace: str, open_api: OpenApi
) -> AsyncGenerator[CredentialSender]:
    settings = Settings(
        namespace=namespace,
        http_port=0,
        api_tokens=TOKENS,
        auth_header="X-Forwarded-Email",
        auth_groups={"readers": Role.READ},
        trusted_proxies=TrustedProxies(hops=1),
    )
    jar = aiohttp.DummyCookieJar()
    async with (
        open_api(store, settings) as api,
        aiohttp.ClientSession(cookie_jar=jar) as http,
    ):
        found = CredentialSender(api.url, http)
        await found.log_in()
        yield found


async def require_served(
    sender: CredentialSender, name: str, authorization: tuple[str, ...], session: str, user: str
) -> None:
    mix = (authorization, session, user)
    statuses = tuple([(await sender.status(path, *mix))[0] for path in PATHS])
    assert statuses == SERVED[name], mix
    status, page = await sender.status("/jobs", *mix, accept="text/html")
    assert status == 200, mix
    assert re.search(f'class="who"[^>]*>{name}\\b', page), mix


async def require_refused(
    sender: CredentialSender, status: int, authorization: tuple[str, ...], session: str, user: str
) -> None:
    mix = (authorization, session, user)
    assert (await sender.status("/v1/stats", *mix))[0] == status, mix
    for path in ("/jobs", "/login"):
        assert (await sender.status(path, *mix, accept="text/html"))[0] == status, (path, *mix)


async def test_a_wrong_authorization_is_served_as_nobody(sender: CredentialSender) -> None:
    for authorization, session, user in product(WRONG, SESSIONS, USERS):
        await require_refused(sender, 401, authorization, session, user)
    for authorization in WRONG:
        assert await sender.log_in_with(authorization) == 401


async def test_a_right_token_counts_alone(sender: CredentialSender) -> None:
    for session, user in product(SESSIONS, USERS):
        await require_served(sender, "eyes", (RIGHT,), session, user)


async def test_a_session_counts_before_the_user_of_the_proxy(sender: CredentialSender) -> None:
    for user in USERS:
        await require_served(sender, "ops", (), "open", user)


async def test_without_a_session_the_user_of_the_proxy_counts(sender: CredentialSender) -> None:
    for session in ("none", "ended"):
        await require_served(sender, "ann", (), session, "in a group")
        await require_refused(sender, 403, (), session, "in no group")
        for path in PATHS:
            assert (await sender.status(path, (), session, "none"))[0] == 401
        assert (await sender.status("/jobs", (), session, "none", "text/html"))[0] == 303
