"""Acts on many jobs from a page: tried first, with counts, cost, sample and difference, then done.

The trial changes nothing; what is confirmed afterwards says everything once more, so that it means
the same to whichever process takes it.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from jobs.job import Job
from jobs.states import State
from worker.api.models.requests import NAMED_MOST
from worker.api.models.views import moment
from worker.api.problems import Problem, bad_field
from worker.app.bulk_request import SWEEPS, Act, Order, merge
from worker.dashboard.background_bulk import ERRANDS, Errand
from worker.dashboard.filters import NAMES, TIMES, Asked, read_filter
from worker.dashboard.json_form import read_patch
from worker.dashboard.page_request import Visit
from worker.dashboard.views.diffs import Line, diff
from worker.dashboard.views.formatting import count
from worker.store.codec import BROKEN, decode
from worker.store.read.queries import Filter

TRIAL_WITHIN_S: Final = 2.0
ACT_WITHIN_S: Final = 0.8
"""How long the answer waits for the end; after that a page shows how far it is."""

SAMPLE: Final = 8
DIFFS: Final = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """What a patch does to one job's inputs."""

    job_id: str
    lines: tuple[Line, ...]
    fault: str = ""


_EFFECTS: Final = {
    Act.RELEASE: "back in line; where a hold stands it opens through one canary, and a hold that"
    " keeps other jobs waiting as well stays closed",
    Act.REQUEUE: "back in line with a new set of attempts; their history is kept",
    Act.DISCARD: "given up: they end as cancelled and stay on record until retention removes them",
    Act.CANCEL: "cancelled: at once where nothing is sent, else by asking the provider",
}


async def try_bulk(visit: Visit) -> web.StreamResponse:
    """Count what an act on many jobs would do."""
    act, asked, ids = await _meant(visit)
    patch = await _patch(visit, act)
    errand = await visit.request.app[ERRANDS].start(
        Order(act, asked.wanted(ids), patch, dry_run=True),
        await visit.actor(),
        fields=await _fields(visit, act, asked),
        ids=tuple(ids or ()),
        expected=await visit.office.store.queries.count(asked.filter) if ids is None else len(ids),
        within_s=TRIAL_WITHIN_S,
    )
    if errand.ended is None:
        return _to(errand)
    return await show_errand(visit, errand)


async def do_bulk(visit: Visit) -> web.StreamResponse:
    """Act on many jobs."""
    act, asked, ids = await _meant(visit)
    patch = await _patch(visit, act)
    expected = (await visit.form()).get("expected", "")
    errand = await visit.request.app[ERRANDS].start(
        Order(act, asked.wanted(ids), patch),
        await visit.actor(),
        fields=await _fields(visit, act, asked),
        ids=tuple(ids or ()),
        expected=int(expected[:9]) if expected.isdecimal() and expected.isascii() else None,
        within_s=ACT_WITHIN_S,
    )
    return _to(errand)


async def errand_page(visit: Visit) -> web.StreamResponse:
    """How far an act on many jobs is."""
    errand = visit.request.app[ERRANDS].find(visit.request.match_info["id"])
    if errand is None:
        detail = "no act of this name is known here any more: the audit tells what was done"
        raise Problem(404, "no-such-act", "No such act", detail)
    return await show_errand(visit, errand)


async def show_errand(visit: Visit, errand: Errand) -> web.StreamResponse:
    """A trial with what it found, or an act with what became of it."""
    is_plan = errand.is_trial and errand.ended is not None
    jobs = await _sample(visit, errand) if is_plan else []
    return await visit.answer(
        "errand.html",
        errand=errand,
        jobs=jobs,
        diffs=await _diffs(visit, errand, jobs) if is_plan else [],
        effect=_EFFECTS[errand.act],
        told=_told(errand),
    )


def _to(errand: Errand) -> web.Response:
    return web.Response(status=303, headers={"Location": f"/bulk/{errand.id}"})


# What is meant.


async def _meant(visit: Visit) -> tuple[Act, Asked, list[str] | None]:
    """The act, its filter, and the jobs ticked where it is for those; raises `Problem`."""
    form = await visit.form()
    try:
        act = Act(form.get("act", ""))
    except ValueError:
        raise bad_field("act", f"must be one of {', '.join(Act)}") from None
    asked = read_filter(form, visit.now)
    if asked.faults:
        name, what = next(iter(asked.faults.items()))
        raise bad_field(name, what)
    state = asked.filter.state
    if form.get("scope") == "selected":
        ids = list(dict.fromkeys(await visit.chosen("ids")))
        if not 1 <= len(ids) <= NAMED_MOST:
            raise bad_field("selection", f"is empty: tick 1 to {NAMED_MOST} jobs")
        return act, Asked({}, Filter()), ids
    if state is not None and state not in SWEEPS[act]:
        raise bad_field("state", f"is {state}, which {act} is not for")
    if not asked.given and form.get("scope") != "all":
        raise bad_field("filter", "admits every job: narrow it")
    return act, asked, None


async def _patch(visit: Visit, act: Act) -> dict[str, Any] | None:
    text = (await visit.form()).get("patch", "").strip()
    if not text or act is not Act.REQUEUE:
        return None
    return read_patch(text)


async def _fields(visit: Visit, act: Act, asked: Asked) -> dict[str, str]:
    """What the form that confirms says: times are those of now, `2h` would move on."""
    form = await visit.form()
    kept: dict[str, str] = {name: asked.given[name] for name in NAMES if name in asked.given}
    for name in TIMES:
        if (at := getattr(asked.filter, name)) is not None:
            kept[name] = moment(at)
    for name in ("scope", "patch", "note", "back"):
        if form.get(name):
            kept[name] = form[name]
    return {**kept, "act": act.value}


# What is shown.


async def _sample(visit: Visit, errand: Errand) -> list[Job]:
    """A few of the jobs that are meant."""
    store, wanted = visit.office.store, errand.order.wanted
    if wanted.ids is not None:
        stored = await store.jobs.load_many(list(wanted.ids)[:SAMPLE])
        return [one.job for one in stored if one is not None]
    found: list[Job] = []
    for state in dict.fromkeys(SWEEPS[errand.act]):
        if wanted.filter.state in (None, state) and len(found) < SAMPLE:
            narrow = replace(wanted.filter, state=state)
            page = await store.queries.page(narrow, SAMPLE - len(found))
            found += page.jobs
    return found


async def _diffs(visit: Visit, errand: Errand, jobs: list[Job]) -> list[Difference]:
    """What the patch does to the inputs of the first few."""
    if errand.order.patch is None or not visit.person.sees_payloads:
        return []
    found: list[Difference] = []
    for job in [one for one in jobs if one.state is State.DEAD][:DIFFS]:
        inputs, _ = await visit.office.store.jobs.payloads(job.id)
        try:
            old = decode(inputs or b"{}")
            found.append(Difference(job.id, diff(old, merge(old, errand.order.patch))))
        except BROKEN:
            found.append(Difference(job.id, (), "its inputs cannot be read"))
    return found


def _told(errand: Errand) -> str:
    """One line on what would be done, is done, or was."""
    counts, act = errand.counts, errand.act
    jobs = count(counts.done, "job")
    if errand.ended is None:
        of = f" of about {count(errand.expected, 'job')}" if errand.expected else ""
        return f"{'Counting' if errand.is_trial else 'Under way'}: {jobs}{of} so far"
    if errand.is_trial:
        return f"Would {act} {jobs}"
    return f"{_PAST[act]} {jobs}"


_PAST: Final = {
    Act.RELEASE: "Released",
    Act.REQUEUE: "Requeued",
    Act.DISCARD: "Discarded",
    Act.CANCEL: "Cancelled",
}
