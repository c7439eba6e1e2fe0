"""`POST /login` and `POST /logout`: open a session with a token of the settings, and close it."""

import asyncio
from typing import Final

from aiohttp import web

from config.values import ApiToken, Role
from worker.api.auth.access import WRONG_TOKEN, Access, cookie_name
from worker.api.auth.login_throttle import LoginThrottle
from worker.api.auth.origin import read_form, require_same_origin
from worker.api.auth.page_guard import LOGIN, page, safe_redirect_path
from worker.api.auth.principal import principal_name
from worker.api.auth.token_guard import too_many_attempts
from worker.api.edge.bodies import BodyKind
from worker.api.edge.client_address import client_address, is_https
from worker.api.prefix import add_route
from worker.api.problems import Problem, answer_as_page
from worker.clock import Clock
from worker.store.audit import AuditLog
from worker.store.side_writes import NewAuditEntry


class Logins:
    """Opens and closes sessions of browsers, as fast as the throttle allows, and audits them."""

    def __init__(self, access: Access, audit: AuditLog, clock: Clock) -> None:
        self._access = access
        self._audit = audit
        self._clock = clock
        self._throttle = LoginThrottle()

    def add_routes(self, app: web.Application) -> None:
        """Add the two endpoints."""
        app[_LOGINS] = self
        add_route(app, "POST", LOGIN, login)
        add_route(app, "POST", "/logout", logout)

    async def log_in(self, request: web.Request) -> web.Response:
        """Check a token and open a session; raises `Problem`."""
        require_same_origin(request)
        await self._access.refuse_wrong_bearer(request)
        form = await read_form(request, BodyKind.LOGIN)
        answer_as_page()  # not before: a page costs more than the body of a stranger is worth
        response = _redirect(safe_redirect_path(form.get("next", "")))
        if not self._access.needs_login:
            return response
        token = await self._authenticate(request, form.get("token", "").strip())
        if token.grants.tenant:
            raise _tenant_login(token)
        name = cookie_name(request)
        if old := request.cookies.get(name):
            await self._access.sessions.close(old)
        session = await self._access.sessions.open(token, client_address(request))
        await self._record(token.name, "login", client_address(request))
        response.set_cookie(
            name,
            session.secret,
            httponly=True,
            samesite="Strict",
            path="/",
            secure=is_https(request),
        )
        return response

    async def log_out(self, request: web.Request) -> web.Response:
        """Close the session of the request."""
        response = _redirect(LOGIN if self._access.needs_login else "/")
        name = cookie_name(request)
        if secret := request.cookies.get(name):
            await self._access.sessions.close(secret)
            secure = is_https(request)
            response.del_cookie(name, path="/", secure=secure, httponly=True, samesite="Strict")
        if self._access.needs_login:
            await self._record(principal_name(), "logout", client_address(request))
        return response

    async def _authenticate(self, request: web.Request, secret: str) -> ApiToken:
        """The token with this secret, after the delay of the throttle; raises `Problem`."""
        client = client_address(request)
        if wait_s := self._throttle.wait_s(client, self._clock.now()):
            raise too_many_attempts(wait_s)
        with self._throttle.attempt(self._clock.now()) as delay_s:
            await asyncio.sleep(delay_s)
        token = self._access.tokens.find(secret)
        if token is not None:
            self._throttle.record_success(client)
            return token
        await self._access.guard.record_wrong(self._throttle, "login", client, secret)
        raise Problem(401, "login-failed", "Login failed", WRONG_TOKEN)

    async def _record(self, by: str, action: str, client: str) -> None:
        now = self._clock.now()
        await self._audit.record(NewAuditEntry(now, by, action, client[:64], note="", jobs=0))


_LOGINS: Final = web.AppKey("logins", Logins)


async def login(request: web.Request) -> web.StreamResponse:
    """Open a session with the token in the form."""
    return await request.app[_LOGINS].log_in(request)


@page(Role.ENQUEUE)
async def logout(request: web.Request) -> web.StreamResponse:
    """Close the session."""
    return await request.app[_LOGINS].log_out(request)


def _tenant_login(token: ApiToken) -> Problem:
    detail = (
        f"token {token.name!r} is of the tenant {token.grants.tenant!r}, and the pages show the"
        " jobs of every tenant: log in with a token without a tenant"
    )
    return Problem(403, "forbidden", "Forbidden", detail)


def _redirect(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})
