"""What a browser loads from a result by itself: only from hosts on the list, never from inside."""

import msgspec
import pytest

from config.settings import Settings
from tests.api.job_factory import JobFactory
from tests.dashboard.conftest import OpenPages
from worker.api.media_policy import MediaLoading, MediaPolicy

ALONE, CLICK, NEVER = MediaLoading.ALONE, MediaLoading.CLICK, MediaLoading.NEVER
POLICY = MediaPolicy(("knouds.ai", "*.knouds.ai"), "http://127.0.0.1:9000")


@pytest.mark.parametrize(
    ("url", "loading"),
    [
        ("https://knouds.ai/1.png", ALONE),
        ("https://cdn.eu.knouds.ai/1.png", ALONE),
        ("https://CDN.Knouds.AI:443/1.png", ALONE),
        ("http://127.0.0.1:9000/1.png", ALONE),  # the sandbox
        ("http://cdn.knouds.ai/1.png", CLICK),
        ("https://cdn.knouds.ai:8443/1.png", CLICK),
        ("https://evilknouds.ai/1.png", CLICK),
        ("https://knouds.ai.evil.example/1.png", CLICK),
        ("https://8.8.8.8/1.png", CLICK),
        ("https://[2606:4700::1111]/1.png", CLICK),
        ("https://knouds.ai@evil.example/1.png", NEVER),
        ("http://127.0.0.1/1.png", NEVER),
        ("http://127.0.0.1:9001/1.png", NEVER),
        ("https://127.0.0.1:9000/1.png", NEVER),
        ("http://127.1/1.png", NEVER),
        ("http://2130706433/1.png", NEVER),
        ("http://0x7f000001/1.png", NEVER),
        ("http://0177.0.0.1/1.png", NEVER),
        ("http://10.0.0.5/1.png", NEVER),
        ("http://172.16.0.1/1.png", NEVER),
        ("http://192.168.1.1/1.png", NEVER),
        ("http://100.64.0.1/1.png", NEVER),
        ("http://169.254.169.254/latest/meta-data/1.png", NEVER),
        ("http://0.0.0.0/1.png", NEVER),
        ("http://[::1]/1.png", NEVER),
        ("http://[::ffff:10.0.0.1]/1.png", NEVER),
        ("http://[fe80::1]/1.png", NEVER),
        ("http://[fd00::1]/1.png", NEVER),
        ("http://[64:ff9b::a00:1]/1.png", NEVER),
        ("http://localhost/1.png", NEVER),
        ("http://localhost./1.png", NEVER),
        ("http://app.localhost/1.png", NEVER),
        ("http://router/1.png", NEVER),
        ("http://grafana.internal/1.png", NEVER),
        ("http://nas.local/1.png", NEVER),
        ("http://x.home.arpa/1.png", NEVER),
        ("http://%31%32%37.0.0.1/1.png", NEVER),
        ("http://１２７.0.0.1/1.png", NEVER),
        ("http://x:99999/1.png", NEVER),
    ],
)
def test_a_url_loads_by_its_host(url: str, loading: MediaLoading) -> None:
    assert POLICY.loading_of(url) is loading
    everywhere = MediaPolicy(("*",), "http://127.0.0.1:9000").loading_of(url)
    assert (everywhere is NEVER) is (loading is NEVER), "no list opens a private network"


async def test_the_page_loads_listed_media_links_others_and_shows_inner_addresses_as_text(
    open_pages: OpenPages, job_factory: JobFactory, settings: Settings
) -> None:
    urls = [
        "https://media.example/listed.png",
        "https://other.example/other.png",
        "http://169.254.169.254/inner.png",
        "http://127.0.0.1:9000/sandbox.mp4",
    ]
    await job_factory.succeeded("job", msgspec.json.encode({"images": urls}))
    given = {"media_hosts": ("media.example",), "base_url": "http://127.0.0.1:9000"}
    async with open_pages(job_factory.store, settings.model_copy(update=given)) as pages:
        page = await pages.get("/jobs/job")
    assert [image["src"] for image in page.tags("img")] == [urls[0]]
    assert [video["src"] for video in page.tags("video")] == [urls[3]]
    assert urls[1] in page.html.links
    assert urls[2] not in page.html.links
    assert urls[2] in page.text
    sources = "http://127.0.0.1:9000 https://media.example"
    assert f"img-src 'self' data: {sources};" in page.headers["Content-Security-Policy"]
    assert f"media-src {sources};" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("hosts", ["a b", "https://x.example", "x.*.example", "localhost", "é.ai"])
def test_a_host_that_is_none_is_refused(hosts: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        Settings.model_validate({"media_hosts": hosts})
