"""A browser as the API sees it: keeps cookies, follows no redirect, sends forms."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from tests.api.checked_api import ApiReply
from worker.api.auth.access import COOKIE


@dataclass(frozen=True, slots=True)
class CookieBrowser:
    """One browser at one address."""

    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> ApiReply:
        return await self._call("GET", path, headers=headers)

    async def post(
        self,
        path: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ApiReply:
        """Send a form."""
        return await self._call("POST", path, data=dict(form or {}), headers=headers)

    async def send(self, path: str, body: object, headers: Mapping[str, str]) -> ApiReply:
        """Post JSON, as a script of a page does."""
        return await self._call("POST", path, json=body, headers=headers)

    async def log_in(self, secret: str, after: str = "/") -> ApiReply:
        return await self.post("/login", {"token": secret, "next": after})

    @property
    def session(self) -> str:
        """The secret in the cookie."""
        found = [cookie.value for cookie in self.http.cookie_jar if cookie.key == COOKIE]
        return found[0] if found else ""

    async def _call(self, method: str, path: str, **facts: object) -> ApiReply:
        async with self.http.request(
            method,
            self.url + path,
            allow_redirects=False,
            **facts,  # type: ignore[arg-type]
        ) as answer:
            return ApiReply(answer.status, dict(answer.headers), await answer.read())


@asynccontextmanager
async def browsing(url: str) -> AsyncGenerator[CookieBrowser]:
    """A browser without any cookies yet."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        yield CookieBrowser(url, http)
