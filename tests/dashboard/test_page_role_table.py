"""One table of roles: no page is open to a role that the API refuses the same."""

import re

import pytest

from config.settings import Settings
from config.values import Role
from tests.api.job_factory import JobFactory
from tests.dashboard.conftest import OpenPages
from tests.dashboard.test_page_roles import logged_in
from worker.compose.api import ENDPOINTS
from worker.dashboard.page_request import PageRoute
from worker.dashboard.routes import PAGES

ROLES = {f"{one.method} {one.path}": one.role for one in ENDPOINTS}


@pytest.mark.parametrize("route", PAGES, ids=lambda one: f"{one.method} {one.path}")
def test_a_page_needs_what_the_api_needs(route: PageRoute) -> None:
    needed = route.needed_role(ENDPOINTS)
    for name in route.shows:
        role = ROLES[name]
        assert role is None or needed.covers(role), name
    assert route.method == "GET" or needed is Role.OPERATE


@pytest.mark.parametrize("role", Role)
async def test_every_page_answers_each_role_as_the_table_says(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings, role: Role
) -> None:
    await job_factory.dead()
    async with logged_in(open_pages, job_factory.store, settings, role) as pages:
        for route in PAGES:
            if route.method != "GET" or route.path == "/bulk/{id}":
                continue
            path = re.sub(r"\{file:.*?\}", "inputs", route.path).replace("{id}", "job")
            is_open = role.covers(route.needed_role(ENDPOINTS))
            assert ((await pages.get(path)).status == 200) is is_open, path
