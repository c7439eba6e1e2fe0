"""The login page, and how problems look to people."""

from aiohttp import web

from worker.api.auth.access import login_context
from worker.api.context import office_of
from worker.api.problems import Problem
from worker.dashboard.rendering import plain_page

_LOGIN_PROBLEMS = frozenset({"login-failed", "slow-down"})


async def login_page(request: web.Request) -> web.StreamResponse:
    """Where a person shows a token."""
    context = await login_context(request)
    if not context.needed:
        return web.Response(status=303, headers={"Location": context.next})
    return plain_page(office_of(request), "login.html", 200, login=context, fault="")


async def problem_page(request: web.Request, problem: Problem) -> web.StreamResponse:
    """A problem for people; a login that failed is the login once more."""
    office = office_of(request)
    if request.path == "/login" and problem.name in _LOGIN_PROBLEMS:
        context = await login_context(request)
        return plain_page(office, "login.html", problem.status, login=context, fault=problem.detail)
    return plain_page(office, "problem.html", problem.status, problem=problem)
