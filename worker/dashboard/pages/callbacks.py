"""The page of callbacks: what apps were told, what fails, and a button to send one again."""

from typing import Final

from aiohttp import web

from jobs.callbacks import CallbackState
from worker.dashboard.page_request import PageRequest
from worker.store.callback_filter import CallbackFilter
from worker.store.callbacks import CallbackPage
from worker.store.client import BadCursor

PAGE_SIZE: Final = 50
FILTER_FIELDS: Final = ("state", "host", "job")


async def callbacks_page(page_request: PageRequest) -> web.StreamResponse:
    """Render the callbacks that match the filter of the query, and the hosts that are down."""
    query, use_case = page_request.request.query, page_request.context.use_cases.callbacks
    given = {name: text for name in FILTER_FIELDS if (text := query.get(name, "").strip())}
    errors: dict[str, str] = {}
    page = CallbackPage([], None)
    principal = page_request.principal
    job = given.get("job", "")
    try:
        state = CallbackState(given["state"]) if "state" in given else None
        wanted = CallbackFilter(
            state=state,
            host=given.get("host", ""),
            subject_id=(principal.job_id(job) or job) if job else "",
            tenant=principal.grants.tenant,
        )
        page = await use_case.page(wanted, PAGE_SIZE, query.get("cursor") or None)
    except BadCursor as error:
        errors["cursor"] = str(error)
    except ValueError:
        errors["state"] = f"must be {', '.join(CallbackState)}"
    return await page_request.render(
        "callbacks.html",
        400 if errors else 200,
        page=page,
        overview=await use_case.overview(),
        states=list(CallbackState),
        is_on=bool(page_request.context.settings.callback_hosts.entries),
        given=given,
        errors=errors,
    )


async def resend_from_page(page_request: PageRequest) -> web.StreamResponse:
    """Send a callback again."""
    found = await page_request.context.use_cases.callbacks.resend(
        page_request.request.match_info["id"],
        await page_request.actor(),
        page_request.principal.grants.tenant,
    )
    return await page_request.redirect_back(f"{found.type} of {found.subject_id} is sent again")
