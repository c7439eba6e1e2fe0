"""The form that edits a job: it sends what it shows, and only what differs from that is changed."""

import re
from typing import Any, Final

from aiohttp import web

from jobs.job import Job
from jobs.transitions import is_editable
from worker.api.handlers.jobs import path_job_id
from worker.api.models.job_edits import EDITED_FIELDS, NONE, NOW, EditBody
from worker.api.parsing import validate_model
from worker.api.problems import bad_field
from worker.app.rfc3339 import rfc3339
from worker.dashboard.page_request import PageRequest
from worker.dashboard.pages.job_lists import job_href

WAS: Final = "was_"
"""Before the name of a field: what the form showed."""

_BETWEEN_TAGS: Final = re.compile(r"[,\s]+")


def edit_fields(job: Job) -> dict[str, str]:
    """What the form shows of a job; empty where it cannot be edited."""
    if not is_editable(job):
        return {}
    return {
        "priority": str(job.priority),
        "tags": ", ".join(job.tags),
        "run_at": rfc3339(job.due_at) if job.due_at is not None else "",
        "start_by": rfc3339(job.start_by) if job.start_by is not None else "",
    }


async def edit_job_from_page(page_request: PageRequest) -> web.StreamResponse:
    """Change what the form changes."""
    form, actor = await page_request.form(), await page_request.actor()
    given = {
        name: form.get(name, "").strip()
        for name in EDITED_FIELDS
        if form.get(name, "").strip() != form.get(f"{WAS}{name}", "").strip()
    }
    body = validate_model({name: _value(name, text) for name, text in given.items()}, EditBody)
    edits = page_request.context.use_cases.edits
    job = await edits.edit(path_job_id(page_request.request), body.edit, actor)
    return await page_request.redirect_back(f"Edited {job.id}", path=job_href(job.id))


def _value(name: str, text: str) -> Any:
    """The value of a field as the API takes it."""
    match name:
        case "priority":
            try:
                return int(text)
            except ValueError:
                raise bad_field("priority", "must be a whole number from -100 to 100") from None
        case "tags":
            return [tag for tag in _BETWEEN_TAGS.split(text) if tag]
        case "run_at":
            return text or NOW
        case _:
            return text or NONE
