"""Single sign-on: users that a trusted proxy names, their roles, and forms of other sites."""

from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr

from config.environment import load
from config.settings import Settings, SettingsError
from config.trusted_proxies import TrustedProxies, parse_trusted_proxies
from config.values import ApiToken, Role
from tests.api.checked_api import ApiReply
from tests.api.conftest import OpenApi
from tests.api.cookie_browser import CookieBrowser, browsing
from tests.store.redis_contents import latest_audit_entries
from worker.api.auth.sessions import csrf_of
from worker.api.auth.sign_on import CSRF_COOKIE
from worker.store import Store

GROUPS = {"everyone": Role.WATCH, "ops": Role.OPERATE}
TOKEN = ApiToken("app", Role.ENQUEUE, SecretStr("app-0123456789abcdef"))
HOLD = {"scope": "default/model"}


def user(groups: str = "everyone", name: str = "ann@example.com") -> dict[str, str]:
    return {"X-Forwarded-Email": name, "X-Forwarded-Groups": groups, "X-Forwarded-For": "10.1.1.1"}


def settings_of(namespace: str, trusted: TrustedProxies) -> Settings:
    return Settings(
        namespace=namespace,
        http_port=0,
        api_tokens=(TOKEN,),
        auth_header="X-Forwarded-Email",
        auth_groups=GROUPS,
        trusted_proxies=trusted,
    )


@pytest.fixture
async def browser(store: Store, namespace: str, open_api: OpenApi) -> AsyncGenerator[CookieBrowser]:
    trusted = TrustedProxies(hops=1)
    async with open_api(store, settings_of(namespace, trusted)) as api, browsing(api.url) as found:
        yield found


async def place_hold(browser: CookieBrowser, **headers: str) -> ApiReply:
    return await browser.send("/v1/holds", HOLD, user("ops") | headers)


async def test_a_user_has_the_largest_role_of_the_groups(browser: CookieBrowser) -> None:
    assert (await browser.get("/v1/stats", user())).status == 200
    assert (await browser.get("/v1/audit", user())).status == 403
    assert (await browser.get("/v1/audit", user("everyone, ops"))).status == 200
    page = await browser.get("/jobs", user())
    assert page.status == 200
    assert b"ann@example.com" in page.body


async def test_a_user_without_a_group_has_no_role(browser: CookieBrowser) -> None:
    for groups in ("", "others", "OPS", "opsy"):
        refused = await browser.get("/v1/stats", user(groups))
        assert refused.status == 403
        assert "in no group of KNOUDS_AUTH_GROUPS" in refused.detail


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "\xe9"])
async def test_a_name_that_the_audit_cannot_show_is_refused(
    browser: CookieBrowser, name: str
) -> None:
    assert (await browser.get("/v1/stats", user("ops", name))).status == 403


async def test_programs_keep_their_tokens(browser: CookieBrowser) -> None:
    headers = user("ops") | {"Authorization": "Bearer app-0123456789abcdef"}
    assert (await browser.get("/v1/stats", headers)).status == 403
    assert (await browser.get("/v1/stats", {"X-Forwarded-For": "10.1.1.1"})).status == 401


async def test_headers_of_anyone_but_the_proxy_are_ignored(
    store: Store, namespace: str, open_api: OpenApi
) -> None:
    other = parse_trusted_proxies("203.0.113.0/24")
    assert isinstance(other, TrustedProxies)
    async with open_api(store, settings_of(namespace, other)) as api, browsing(api.url) as found:
        assert (await found.get("/v1/stats", user("ops"))).status == 401
        assert (await found.get("/jobs", user("ops"))).status == 303


async def test_a_form_of_another_site_has_no_token_of_the_browser(
    browser: CookieBrowser, store: Store
) -> None:
    assert (await place_hold(browser)).status == 403, "the browser has no cookie yet"
    await browser.get("/jobs", user("ops"))
    cookies = {cookie.key: cookie for cookie in browser.http.cookie_jar}
    cookie = cookies[CSRF_COOKIE]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    assert (await place_hold(browser)).status == 403
    assert (await place_hold(browser, **{"X-CSRF-Token": "0" * 64})).status == 403
    right = {"X-CSRF-Token": csrf_of(cookie.value)}
    foreign = right | {"Sec-Fetch-Site": "cross-site"}
    assert (await place_hold(browser, **foreign)).status == 403
    assert (await place_hold(browser, **right)).status == 201
    (entry, *_) = await latest_audit_entries(store, 1)
    assert (entry["by"], entry["act"]) == ("ann@example.com", "hold")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"AUTH_HEADER": "X-User"}, "KNOUDS_AUTH_HEADER: needs KNOUDS_AUTH_GROUPS"),
        ({"AUTH_GROUPS": '{"ops": "operate"}'}, "KNOUDS_AUTH_GROUPS: needs KNOUDS_AUTH_HEADER"),
        (
            {"AUTH_HEADER": "X-User", "AUTH_GROUPS": '{"ops": "operate"}'},
            "KNOUDS_AUTH_HEADER: needs KNOUDS_TRUSTED_PROXIES",
        ),
        ({"AUTH_HEADER": "X-Forwarded-For"}, "KNOUDS_AUTH_HEADER: is not the name of a header"),
        ({"AUTH_GROUPS": '{"ops": "boss"}'}, "KNOUDS_AUTH_GROUPS"),
    ],
)
def test_settings_that_do_not_go_together_stop_the_start(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        load({f"KNOUDS_{name}": value for name, value in given.items()}, None)
    assert message in str(raised.value)
