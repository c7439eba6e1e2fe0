"""The overview names budgets and balances that need an operator, with the page to act on."""

from tests.api.test_credit_warnings import check, set_budget
from tests.dashboard.page_reader import PageReader
from worker.store import Store


async def test_a_closed_budget_needs_attention(pages: PageReader, store: Store) -> None:
    assert "All good" in (await pages.get("/")).text
    await set_budget(store, "b", "default", 100)
    await check(store)
    page = await pages.get("/")
    assert "1 issue needs your attention: budget b is closed (0 jobs wait)" in page.text
    assert "Budget b (default) is closed: 100 spent and 0 reserved" in page.text
    assert "Raise the limit, or remove the budget" in page.text
    assert "/budgets" in [link.get("href") for link in page.tags("a")]
