"""The login page and the page of a problem."""

from aiohttp import web

from worker.api.auth.page_guard import login_context
from worker.api.context import context_of
from worker.api.prefix import own_path
from worker.api.problems import Problem
from worker.dashboard.rendering import standalone_page

_LOGIN_PROBLEMS = frozenset({"login-failed", "slow-down"})


async def login_page(request: web.Request) -> web.StreamResponse:
    """Render the login form; a principal that is logged in is redirected."""
    login = await login_context(request)
    if not login.needs_login:
        return web.Response(status=303, headers={"Location": login.next})
    return standalone_page(context_of(request), "login.html", 200, login=login, error="")


async def problem_page(request: web.Request, problem: Problem) -> web.StreamResponse:
    """Render a problem as a page; a failed login shows the login form again."""
    context = context_of(request)
    if own_path(request).partition("?")[0] == "/login" and problem.name in _LOGIN_PROBLEMS:
        login = await login_context(request)
        return standalone_page(
            context, "login.html", problem.status, login=login, error=problem.detail
        )
    return standalone_page(context, "problem.html", problem.status, problem=problem)
