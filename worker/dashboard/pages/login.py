"""The login page, and how problems look to people."""

from aiohttp import web

from worker.api.auth.access import login_context
from worker.api.context import context_of
from worker.api.problems import Problem
from worker.dashboard.rendering import standalone_page

_LOGIN_PROBLEMS = frozenset({"login-failed", "slow-down"})


async def login_page(request: web.Request) -> web.StreamResponse:
    """Where a person shows a token."""
    context = await login_context(request)
    if not context.needs_login:
        return web.Response(status=303, headers={"Location": context.next})
    return standalone_page(context_of(request), "login.html", 200, login=context, error="")


async def problem_page(request: web.Request, problem: Problem) -> web.StreamResponse:
    """A problem for people; a login that failed is the login once more."""
    office = context_of(request)
    if request.path == "/login" and problem.name in _LOGIN_PROBLEMS:
        context = await login_context(request)
        return standalone_page(
            office, "login.html", problem.status, login=context, error=problem.detail
        )
    return standalone_page(office, "problem.html", problem.status, problem=problem)
