"""Parameters that come with a link: no page leads elsewhere by one, none fails by one."""

import pytest

from tests.api.job_factory import JobFactory
from tests.dashboard.page_reader import PageReader

FOREIGN = [
    "javascript:alert(1)",
    "//evil.example",
    "https://evil.example",
    "/\\evil.example",
    "data:text/html,x",
    "/\t/evil.example",
]
CURSORS = ["…", "٣-٣", "99999999999999999999999", "18446744073709551616", "1-1-1", "-", "+", "e30"]


@pytest.mark.parametrize("back", FOREIGN)
async def test_the_bulk_page_leads_back_to_our_own_paths_only(
    pages: PageReader, job_factory: JobFactory, back: str
) -> None:
    await job_factory.dead()
    form = (await pages.get("/dead")).selection
    fields = [*form.with_(back=back), ("action", "discard"), ("scope", "all"), ("state", "dead")]
    preview = await pages.post("/bulk", fields)
    assert preview.status == 200, preview.text
    values = [value for one in preview.html.forms for name, value in one.fields if name == "back"]
    for link in [*preview.html.links, *values]:
        assert link.startswith(("/", "?", "#")), link
        assert not link.startswith(("//", "/\\")), link
    assert back not in preview.source


@pytest.mark.parametrize("cursor", CURSORS)
@pytest.mark.parametrize(
    "path", ["/audit", "/jobs", "/dead", "/parked", "/v1/audit", "/v1/jobs", "/v1/events"]
)
async def test_a_cursor_that_is_none_is_the_fault_of_the_caller(
    pages: PageReader, job_factory: JobFactory, path: str, cursor: str
) -> None:
    await job_factory.dead()
    name = "last_event_id" if path == "/v1/events" else "cursor"
    async with pages.http.get(
        pages.url + path,
        params={name: cursor},
        headers={} if path.startswith("/v1") else {"Accept": "text/html"},
    ) as reply:
        assert reply.status == 400, await reply.text()
