"""The concurrency caps on the page of holds."""

from tests.dashboard.page_reader import PageReader
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store


async def test_a_cap_is_set_and_removed(pages: PageReader, store: Store) -> None:
    page = await pages.get("/holds")
    assert "No lane has a cap" in page.text
    page = await pages.send(page, "/caps", scope="default/model/suno", cap="4", note="slow")
    assert "default/model/suno: 4 at once" in page.text
    assert (await store.holds.gates()).caps == {"default/model/suno": 4}
    page = await pages.send(page, "/caps/remove")
    assert "no cap of its own" in page.text
    (entry,) = await latest_audit_entries(store, 1)
    assert entry["act"] == "remove_cap"


async def test_a_wrong_value_is_said(pages: PageReader) -> None:
    page = await pages.get("/holds")
    for given in ("many", "0"):
        wrong = await pages.send(page, "/caps", scope="default", cap=given)
        assert "whole number from 1" in wrong.text
    wrong = await pages.send(page, "/caps", scope="nothing/x", cap="1")
    assert "is not a scope" in wrong.text
