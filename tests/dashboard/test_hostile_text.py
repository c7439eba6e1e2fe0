"""Texts of clients and of the provider are shown, and never run."""

import base64
import json
import re
from collections.abc import Mapping

import msgspec
import pytest
from yarl import URL

from jobs import transitions
from jobs.job import Reason
from tests.api.job_factory import INVALID_INPUTS, JobFactory
from tests.dashboard.page_reader import HtmlPage, PageReader
from worker.dashboard.flash import COOKIE
from worker.store.side_writes import SideWrites

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
QUOTES = "\"><svg onload=alert(3)> ' onfocus=alert(4) autofocus x='"
RUNS = re.compile(r"\s*(javascript|data|vbscript):", re.IGNORECASE)
RTL = "gpj.\u202eexe\u2066\u200f"


async def dead_with(job_factory: JobFactory, text: str, inputs: Mapping[str, object]) -> None:
    """Create a dead letter with `text` in every free-text field."""
    await job_factory.submitting("job")
    now = job_factory.clock.now()
    reason = Reason(
        code=text[:60], http_status=400, message=text, action=text, action_url=f"javascript:{text}"
    )
    await job_factory.transition(
        "job",
        lambda job: transitions.dead_letter(job, now, INVALID_INPUTS, reason),
        SideWrites(inputs=msgspec.json.encode(inputs)),
    )


def check_harmless(page: HtmlPage) -> None:
    """Assert that the page has no inline script, style or script URL."""
    for tag, attributes in page.html.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert "style" not in attributes, (tag, attributes)
        for name in ("href", "src", "action"):
            assert not re.match(
                r"\s*(javascript|data|vbscript):", attributes.get(name, ""), re.IGNORECASE
            ), attributes
        if tag == "script":
            assert attributes.get("src", "").startswith("/static/"), attributes
    assert page.headers["Content-Security-Policy"].startswith(
        "default-src 'none'; script-src 'self'"
    )
    assert "unsafe" not in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("text", [SCRIPT, QUOTES, RTL])
@pytest.mark.parametrize("path", ["/", "/jobs", "/dead", "/jobs/job", "/jobs/job/requeue"])
async def test_hostile_texts_are_shown_and_do_nothing(
    pages: PageReader, job_factory: JobFactory, text: str, path: str
) -> None:
    await dead_with(job_factory, text, {"prompt": text, text: [text]})
    page = await pages.get(path)
    assert page.status == 200, page.text
    check_harmless(page)


async def test_bidirectional_control_characters_are_shown_as_code_points(
    pages: PageReader, job_factory: JobFactory
) -> None:
    await dead_with(job_factory, RTL, {"prompt": RTL})
    page = await pages.get("/jobs/job")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200f]", page.source)
    assert "gpj.⟨U+202E⟩exe" in page.text
    assert r"gpj.\u202eexe\u2066\u200f" in page.text, "inputs stay the JSON they are"


async def test_a_query_is_shown_as_text_too(pages: PageReader) -> None:
    for path in ("/jobs?code=%22%3E%3Cscript%3E", "/jobs?id=%3Cscript%3E", "/batches?name=%3Cb%3E"):
        check_harmless(await pages.get(path))


async def test_inputs_of_a_megabyte_are_truncated_and_can_be_downloaded(
    pages: PageReader, job_factory: JobFactory
) -> None:
    inputs = {"prompt": "x" * 1_000_000}
    await dead_with(job_factory, "x", inputs)
    page = await pages.get("/jobs/job")
    assert len(page.body) < 60_000
    assert "Truncated: the full size is 976.6 KiB" in page.text
    file = await pages.get("/jobs/job/inputs.json")
    assert json.loads(file.body) == inputs
    assert file.headers["Content-Disposition"] == 'attachment; filename="inputs.json"'
    assert file.headers["Content-Type"] == "application/json"
    assert file.headers["X-Content-Type-Options"] == "nosniff"


async def test_images_videos_and_audio_of_a_result_are_shown(
    pages: PageReader, job_factory: JobFactory
) -> None:
    result = {
        "images": ["https://cdn.knouds.ai/1.png"],
        "videos": ["https://cdn.knouds.ai/film"],
        "deep": {"audios": [{"url": "https://cdn.knouds.ai/song.mp3?x=1&y=2"}]},
        "other": "https://cdn.knouds.ai/page",
    }
    await job_factory.succeeded("job", msgspec.json.encode(result))
    page = await pages.get("/jobs/job")
    (image,) = page.tags("img")
    assert (image["src"], image["referrerpolicy"]) == ("https://cdn.knouds.ai/1.png", "no-referrer")
    assert [attributes["src"] for attributes in page.tags("video")] == [
        "https://cdn.knouds.ai/film"
    ]
    assert [attributes["src"] for attributes in page.tags("audio")] == [
        "https://cdn.knouds.ai/song.mp3?x=1&y=2"
    ]
    assert "https://cdn.knouds.ai/page" in page.html.links
    assert all(
        "noreferrer" in attributes["rel"] for attributes in page.tags("a") if "target" in attributes
    )


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)//x.png",
        "data:image/svg+xml,<svg onload=alert(1)>",
        "file:///etc/passwd.png",
        "//cdn.knouds.ai/1.png",
        "https:///1.png",
        'https://x.example/"><script>.png',
        "https://x.example/a b.png",
        " https://x.example/1.png",
        "ftp://x.example/1.png",
    ],
)
async def test_only_web_urls_are_shown_as_media(
    pages: PageReader, job_factory: JobFactory, url: str
) -> None:
    await job_factory.succeeded("job", msgspec.json.encode({"images": [url]}))
    page = await pages.get("/jobs/job")
    assert not page.tags("img")
    check_harmless(page)


async def test_an_unreadable_result_is_text(pages: PageReader, job_factory: JobFactory) -> None:
    await job_factory.succeeded("job", b'{"images": [' + b"[" * 5_000)
    page = await pages.get("/jobs/job")
    assert page.status == 200
    check_harmless(page)


async def test_a_forged_flash_message_is_text(pages: PageReader) -> None:
    forged = base64.b64encode(msgspec.json.encode(("<script>alert(1)</script>", True)))
    pages.http.cookie_jar.update_cookies({COOKIE: forged.decode()}, URL(pages.url))
    page = await pages.get("/jobs")
    check_harmless(page)
    assert "<script>alert(1)</script>" in page.text
