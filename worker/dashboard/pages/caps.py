"""The forms that set and remove concurrency caps; the page of holds shows them."""

from typing import Final

from aiohttp import web

from worker.api.models.caps import CapBody
from worker.api.parsing import validate_model
from worker.api.problems import bad_field
from worker.dashboard.page_request import PageRequest

PAGE: Final = "/holds#caps"


async def set_cap_from_page(page_request: PageRequest) -> web.StreamResponse:
    """Set the cap of a scope."""
    form, actor = await page_request.form(), await page_request.actor()
    try:
        given = int(form.get("cap", ""))
    except ValueError:
        raise bad_field("cap", f"must be {CapBody.model_fields['cap'].description}") from None
    cap = validate_model({"cap": given}, CapBody).cap
    scope = form.get("scope", "").strip()
    found = await page_request.context.use_cases.caps.set(scope, cap, actor)
    return await page_request.redirect_back(f"{found.scope}: {found.cap:,} at once", path=PAGE)


async def remove_cap_from_page(page_request: PageRequest) -> web.StreamResponse:
    """Remove what was set for a scope."""
    scope = (await page_request.form()).get("scope", "")
    left = await page_request.context.use_cases.caps.remove(scope, await page_request.actor())
    text = "no cap of its own" if left is None else f"{left.cap:,} at once, as the settings say"
    return await page_request.redirect_back(f"{scope}: {text}", path=PAGE)
