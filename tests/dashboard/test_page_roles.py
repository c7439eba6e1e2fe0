"""Roles: what each one sees and may do, as the pages show it and the server checks it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from config.settings import Settings
from config.values import ApiToken, Grants, Role
from jobs.holds import Hold
from jobs.lanes import Scope
from jobs.states import State
from tests.api.job_factory import JobFactory
from tests.dashboard.conftest import OpenPages
from tests.dashboard.page_reader import HtmlPage, PageReader
from worker.dashboard.routes import PAGES
from worker.store import Store
from worker.store.read.filter import Filter

SECRETS = {role: f"secret-of-{role}-1234567" for role in Role}
HIDDEN = "Hidden: your role cannot see inputs and results"


@asynccontextmanager
async def logged_in(
    open_pages: OpenPages, store: Store, settings: Settings, role: Role
) -> AsyncGenerator[PageReader]:
    """A browser that is logged in with a role."""
    tokens = tuple(ApiToken(name=r, role=r, secret=SecretStr(s)) for r, s in SECRETS.items())
    with_tokens = settings.model_copy(update={"api_tokens": tokens})
    async with open_pages(store, with_tokens) as pages:
        form = await pages.get("/jobs")
        await pages.send(form, "/login", token=SECRETS[role])
        yield pages


async def test_a_login_is_required_and_returns_to_the_page(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> None:
    await job_factory.queued()
    async with logged_in(open_pages, job_factory.store, settings, Role.OPERATE) as pages:
        pages.http.cookie_jar.clear()
        form = await pages.get("/jobs/job?x=1")
        assert "Log in" in form.text
        wrong = await pages.send(form, "/login", token="wrong")
        assert wrong.status == 401
        assert "no token of KNOUDS_API_TOKENS has this secret" in wrong.text
        page = await pages.send(wrong, "/login", token=SECRETS[Role.OPERATE])
        assert page.url.endswith("/jobs/job?x=1")
        logged_out = await pages.send(page, "/logout")
        assert "Log in" in logged_out.text
        assert "Log in" in (await pages.get("/")).text


@pytest.mark.parametrize("role", [Role.WATCH, Role.READ])
async def test_a_read_only_role_sees_no_actions(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings, role: Role
) -> None:
    await job_factory.dead()
    await job_factory.held("held")
    await job_factory.uncertain("uncertain")
    hold = Hold(id="h", scope=Scope("default"), code="INSUFFICIENT_CREDITS", created_at=1.0)
    await job_factory.store.holds.change(hold.key, lambda _: hold)
    await job_factory.held("behind", hold)
    async with logged_in(open_pages, job_factory.store, settings, role) as pages:
        for path in ("/", "/jobs", "/parked", "/dead", "/holds", "/jobs/job", "/jobs/uncertain"):
            page = await pages.get(path)
            assert page.status == 200, page.text
            assert "(read-only)" in page.text
            posts = [form.action for form in page.html.forms if form.method == "post"]
            assert posts == ["/logout"], path


@pytest.mark.parametrize("role", [Role.WATCH, Role.READ])
@pytest.mark.parametrize("path", [route.path for route in PAGES if route.method == "POST"])
async def test_the_server_refuses_every_action_of_a_read_only_role(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings, role: Role, path: str
) -> None:
    await job_factory.dead()
    async with logged_in(open_pages, job_factory.store, settings, role) as pages:
        csrf = dict((await pages.get("/")).form("/logout").fields)["csrf"]
        target = path.format(id="job", name="b", action="discard")
        refused = await pages.post(
            target, [("csrf", csrf), ("back", "/dead"), ("action", "discard")]
        )
        assert refused.status == 403, refused.text
    stored = await job_factory.store.jobs.load("job")
    assert stored is not None
    assert stored.job.state is State.DEAD


@pytest.mark.parametrize("token", [None, "", "wrong"])
@pytest.mark.parametrize("path", [route.path for route in PAGES if route.method == "POST"])
async def test_an_action_without_the_forms_token_is_refused(
    pages: PageReader, job_factory: JobFactory, path: str, token: str | None
) -> None:
    await job_factory.dead()
    fields = [("action", "discard"), ("state", "dead"), ("scope", "all"), ("back", "/dead")]
    fields += [] if token is None else [("csrf", token)]
    refused = await pages.post(path.format(id="job", name="b", action="discard"), fields)
    assert refused.status == 403, refused.text
    assert "reload the page" in refused.text
    stored = await job_factory.store.jobs.load("job")
    assert stored is not None
    assert stored.job.state is State.DEAD


async def test_every_action_form_carries_the_token(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.dead()
    await job_factory.held("held")
    await job_factory.uncertain("uncertain")
    for path in (
        "/",
        "/jobs",
        "/parked",
        "/dead",
        "/holds",
        "/jobs/job",
        "/jobs/uncertain",
        "/jobs/job/requeue",
        "/jobs/job/similar",
    ):
        for form in (await pages.get(path)).html.forms:
            assert form.method == "get" or form.action == "" or dict(form.fields).get("csrf"), path


async def test_a_form_of_another_site_is_refused(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await job_factory.queued()
    form = (await pages.get("/jobs/job")).form("/jobs/job/actions/park")
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        page = await pages.post(form.action, form.fields, headers)
        assert page.status == 403


async def test_the_watch_role_sees_no_inputs_and_no_results(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> None:
    await job_factory.succeeded("job", b'{"images": ["https://cdn.knouds.ai/secret.png"]}')
    await job_factory.dead("dead")
    async with logged_in(open_pages, job_factory.store, settings, Role.WATCH) as pages:
        page = await pages.get("/jobs/job")
        assert page.text.count(HIDDEN) == 2
        for path in ("/jobs/job", "/jobs/dead", "/dead", "/jobs"):
            source = (await pages.get(path)).source
            assert "a cat" not in source
            assert "secret.png" not in source
        for file in ("inputs", "result"):
            refused = await pages.get(f"/jobs/job/{file}.json")
            assert refused.status == 403
            assert "secret.png" not in refused.source


async def test_the_read_role_sees_inputs_and_results(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> None:
    await job_factory.succeeded("job", b'{"images": ["https://cdn.knouds.ai/1.png"]}')
    async with logged_in(open_pages, job_factory.store, settings, Role.READ) as pages:
        page = await pages.get("/jobs/job")
        assert "a cat" in page.text
        assert [image["src"] for image in page.tags("img")] == ["https://cdn.knouds.ai/1.png"]


async def test_the_enqueue_role_has_no_pages(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> None:
    async with logged_in(open_pages, job_factory.store, settings, Role.ENQUEUE) as pages:
        refused: HtmlPage = await pages.get("/")
        assert refused.status == 403
        assert "has the role enqueue, this needs watch" in refused.text


@pytest.mark.parametrize("after", ["//evil.example", "https://evil.example", "/\\evil.example"])
async def test_no_action_redirects_to_another_site(
    pages: PageReader, job_factory: JobFactory, after: str
) -> None:
    await job_factory.queued()
    form = (await pages.get("/jobs/job")).form("/jobs/job/actions/park")
    page = await pages.post(form.action, form.with_(back=after))
    assert page.url.startswith(pages.url)


async def test_a_page_enqueues_no_more_than_the_token_of_its_login_may(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> None:
    await job_factory.queued()
    secret = SECRETS[Role.OPERATE]
    token = ApiToken("ops", Role.OPERATE, SecretStr(secret), grants=Grants(targets=("suno",)))
    bound = settings.model_copy(update={"api_tokens": (token,)})
    async with open_pages(job_factory.store, bound) as pages:
        await pages.send(await pages.get("/jobs"), "/login", token=secret)
        form = await pages.get("/jobs/job/similar")
        page = await pages.send(form, "/jobs/job/similar", inputs="{}")
        assert "is not granted to token 'ops', which may use suno" in page.text
    assert len((await job_factory.store.read.queries.page(Filter(), 9)).jobs) == 1
