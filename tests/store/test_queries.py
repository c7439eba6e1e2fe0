"""Lists, groups and counts over many jobs."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs import transitions
from jobs.job import Job, Reason
from jobs.lanes import JobId, Lane
from jobs.outcomes import ProviderError
from jobs.states import Kind, State
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW, a_job, changed
from worker.store import Store
from worker.store.client import BadCursor
from worker.store.read import queries
from worker.store.read.filter import Filter
from worker.store.read.lane_counts import LaneCount
from worker.store.read.queries import CHUNK, JobGroup, Page

MADE: tuple[Callable[..., Job], ...] = (
    job_builders.queued,
    job_builders.running,
    job_builders.held,
    job_builders.dead,
    job_builders.succeeded,
    job_builders.manual,
)


def many(count: int = 300) -> list[Job]:
    """Jobs in many states; ten at a time share a timestamp."""
    jobs: list[Job] = []
    for n in range(count):
        made = MADE[n % len(MADE)](
            id=JobId(f"j{n * 7 % count:03}"),
            kind=Kind.MODEL if n % 2 else Kind.WORKFLOW,
            target=("suno", "kling", "seedance")[n % 3],
            account="default" if n % 5 else "studio",
            tags=(f"t{n % 4}", "all"),
            batch=f"b{n % 7}" if n % 7 else None,
        )
        at = NOW + n // 10
        jobs.append(changed(made, created_at=at, since=at))
    return jobs


async def fill(store: Store, jobs: list[Job]) -> None:
    assert all(await asyncio.gather(*(store.jobs.create(job, b"{}") for job in jobs)))


async def read_every_page(store: Store, wanted: Filter, limit: int) -> list[list[Job]]:
    """Every page of a list."""
    pages: list[list[Job]] = []
    cursor: str | None = None
    while True:
        page = await store.read.queries.page(wanted, limit, cursor)
        pages.append(list(page.jobs))
        assert len(pages) < 1_000, "the list does not end"
        if page.next_cursor is None:
            return pages
        cursor = page.next_cursor


FILTERS: dict[str, tuple[Filter, Callable[[Job], bool]]] = {
    "all": (Filter(), lambda _: True),
    "state": (Filter(state=State.PARKED), lambda job: job.state is State.PARKED),
    "kind": (Filter(kind=Kind.MODEL), lambda job: job.kind is Kind.MODEL),
    "target": (Filter(target="suno"), lambda job: job.target == "suno"),
    "kind-and-target": (
        Filter(kind=Kind.MODEL, target="suno"),
        lambda job: (job.kind, job.target) == (Kind.MODEL, "suno"),
    ),
    "code": (
        Filter(code="INSUFFICIENT_CREDITS"),
        lambda job: job.reason is not None and job.reason.code == "INSUFFICIENT_CREDITS",
    ),
    "state-and-code": (
        Filter(state=State.PARKED, code="manual"),
        lambda job: job.parked_as == "manual",
    ),
    "tag": (Filter(tag="t2"), lambda job: "t2" in job.tags),
    "batch": (Filter(batch="b3"), lambda job: job.batch == "b3"),
    "account": (Filter(account="studio"), lambda job: job.account == "studio"),
    "since": (Filter(since=NOW + 12), lambda job: job.created_at >= NOW + 12),
    "until": (Filter(until=NOW + 12), lambda job: job.created_at < NOW + 12),
    "window": (
        Filter(since=NOW + 3, until=NOW + 4),
        lambda job: job.created_at == NOW + 3,
    ),
    "tag-and-state": (
        Filter(tag="t1", state=State.DEAD),
        lambda job: "t1" in job.tags and job.state is State.DEAD,
    ),
    "nothing": (Filter(batch="no such batch"), lambda _: False),
    "nothing-of-many": (Filter(code="NO_SUCH_CODE"), lambda _: False),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_a_list_shows_every_job_that_is_wanted_once_and_newest_first(
    store: Store, name: str
) -> None:
    jobs = many()
    await fill(store, jobs)
    wanted, admits = FILTERS[name]
    right = sorted((job for job in jobs if admits(job)), key=_newest_first)
    for limit in (1 if len(right) < 60 else 7, 10, 500):
        pages = await read_every_page(store, wanted, limit)
        assert [job.id for page in pages for job in page] == [job.id for job in right]
        assert all(len(page) == limit for page in pages[:-1])


def _newest_first(job: Job) -> tuple[float, tuple[int, ...]]:
    return -job.created_at, tuple(-ord(letter) for letter in job.id)


async def test_a_list_ends_without_a_cursor_that_leads_nowhere(store: Store) -> None:
    await fill(store, many(10))
    assert (await store.read.queries.page(Filter(), 10)).next_cursor is None
    assert (await store.read.queries.page(Filter(), 9)).next_cursor is not None
    assert await store.read.queries.page(Filter(tag="none"), 9) == Page((), None)


async def test_more_jobs_of_one_moment_than_are_read_at_once_are_all_shown(store: Store) -> None:
    jobs = [a_job(id=JobId(f"j{n:03}")) for n in range(CHUNK + 30)]
    await fill(store, jobs)
    pages = await read_every_page(store, Filter(), 9)
    shown = [job.id for page in pages for job in page]
    assert shown == sorted((job.id for job in jobs), reverse=True)


async def test_jobs_that_come_while_a_list_is_read_do_not_disturb_it(store: Store) -> None:
    jobs = many(30)
    await fill(store, jobs)
    first = await store.read.queries.page(Filter(), 10)
    await fill(store, [a_job(id=JobId("newest"), created_at=NOW + 999)])
    gone = await store.jobs.load(first.jobs[-1].id)
    assert gone is not None
    assert await store.jobs.delete(gone)
    assert first.next_cursor is not None
    rest = await store.read.queries.page(Filter(), 50, first.next_cursor)
    shown = [job.id for job in (*first.jobs, *rest.jobs)]
    assert sorted(shown) == sorted(job.id for job in jobs)


async def test_a_filter_that_hides_almost_everything_is_answered_in_bounded_steps(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MAX_SCANNED_RECORDS", 20)
    monkeypatch.setattr(queries, "CHUNK", 10)
    oldest = a_job(id=JobId("oldest"), created_at=NOW - 9, account="rare")
    await fill(store, [*many(50), oldest])
    first = await store.read.queries.page(Filter(account="rare"), 5)
    assert first.jobs == ()
    assert first.next_cursor is not None
    pages = await read_every_page(store, Filter(account="rare"), 5)
    assert [job.id for page in pages for job in page] == ["oldest"]
    assert len(pages) == 3


def cursor_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "%%%",
        "ü",
        "AAAA",
        "\ud800",
        base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(b"[" * 5_000).decode(),
        base64.urlsafe_b64encode(b'["{all}", 1e999, "x"]').decode(),
        base64.urlsafe_b64encode(b'["{all}", 1' + b"0" * 400 + b', "x"]').decode(),
        cursor_of("{all}", "nan", "x"),
        cursor_of("{all}", float("nan"), "x"),
        cursor_of("{all}", None, "x"),
        cursor_of("{all}", 1.0),
        cursor_of("{all}", 1.0, "x", "y"),
        cursor_of("other:all", 1.0, "x"),
        cursor_of("{tag}", 1.0, "x"),
        cursor_of(["{all}"], 1.0, "x"),
    ],
)
async def test_a_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    await fill(store, [a_job(tags=("a",))])
    names = {"{all}": f"{store.keys.namespace}:all", "{tag}": f"{store.keys.namespace}:tag:a"}
    for name, key in names.items():
        cursor = _replaced(cursor, name, key)
    with pytest.raises(BadCursor):
        await store.read.queries.page(Filter(), 5, cursor)


def _replaced(cursor: str, name: str, key: str) -> str:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        return cursor
    return base64.urlsafe_b64encode(text.replace(name, key).encode()).decode().rstrip("=")


async def test_a_cursor_belongs_to_its_list(store: Store) -> None:
    await fill(store, many(40))
    mine = (await store.read.queries.page(Filter(tag="t1"), 2)).next_cursor
    with pytest.raises(BadCursor, match="another filter"):
        await store.read.queries.page(Filter(tag="t2"), 2, mine)
    assert (await store.read.queries.page(Filter(tag="t1"), 2, mine)).jobs


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Filter(), 60),
        (Filter(state=State.PARKED), 20),
        (Filter(tag="t1"), 15),
        (Filter(batch="b1"), 9),
        (Filter(kind=Kind.MODEL), None),
        (Filter(code="manual"), None),
        (Filter(tag="t1", state=State.DEAD), None),
        (Filter(since=NOW), None),
    ],
    ids=str,
)
async def test_a_count_is_exact_or_not_given(
    store: Store, wanted: Filter, count: int | None
) -> None:
    await fill(store, many(60))
    assert await store.read.queries.count(wanted) == count


# Groups.


async def test_groups_are_by_code_and_lane_the_largest_first(store: Store) -> None:
    await fill(
        store,
        [
            *(changed(job_builders.held(id=JobId(f"h{n}")), since=NOW + n) for n in range(3)),
            changed(job_builders.held(id=JobId("kling"), target="kling"), since=NOW - 5),
            job_builders.manual(id=JobId("m")),
            job_builders.uncertain(id=JobId("u")),
            job_builders.dead(id=JobId("d")),
        ],
    )
    lane = Lane("default", Kind.MODEL, "suno")
    groups, _ = await store.read.queries.groups(State.PARKED)
    assert [(g.code, g.lane.target, g.count, g.since) for g in groups] == [
        ("INSUFFICIENT_CREDITS", "suno", 3, NOW),
        ("INSUFFICIENT_CREDITS", "kling", 1, NOW - 5),
        *sorted([("manual", "suno", 1, NOW), ("uncertain", "suno", 1, NOW)]),
    ]
    assert groups[0].sample.id == "h0"
    ((dead,), _) = await store.read.queries.groups(State.DEAD)
    assert isinstance(dead, JobGroup)
    assert (dead.state, dead.code, dead.lane, dead.count) == (
        State.DEAD,
        "INVALID_INPUTS",
        lane,
        1,
    )


async def test_a_code_may_look_like_anything(store: Store) -> None:
    code = "parked|a|b:c d/ü"
    parked = transitions.park_refused(
        job_builders.submitted(), NOW, ProviderError(code), Reason(code=code)
    )
    await fill(store, [parked])
    ((group,), _) = await store.read.queries.groups(State.PARKED)
    assert (group.code, str(group.lane)) == (code, "default/model/suno")


async def test_a_group_without_jobs_is_taken_off_the_register(store: Store) -> None:
    await fill(store, [job_builders.held()])
    stored = await store.jobs.load("j1")
    assert stored is not None
    await store.jobs.commit(stored, transitions.release(stored.job, NOW, by="ann"))
    assert await store.read.queries.groups(State.PARKED) == ([], [])
    assert await store.client.call("EXISTS", store.keys.groups) == 1, "reading writes nothing"
    await store.registers.remove_empty()
    assert await store.client.call("EXISTS", store.keys.groups) == 0


async def test_a_register_keeps_what_has_jobs(store: Store) -> None:
    await fill(store, [job_builders.held()])
    await store.registers.remove_empty()
    assert [group.count for group in (await store.read.queries.groups(State.PARKED))[0]] == [1]


# Counts.


async def test_states_are_counted_with_their_oldest(store: Store) -> None:
    await fill(store, many(60))
    counts, oldest = await store.read.queries.state_counts()
    assert counts == dict.fromkeys(State, 0) | {
        State.QUEUED: 10,
        State.RUNNING: 10,
        State.PARKED: 20,
        State.DEAD: 10,
        State.SUCCEEDED: 10,
    }
    assert set(oldest) == {state for state, count in counts.items() if count}
    assert set(oldest.values()) == {NOW}


async def test_the_held_are_counted_by_their_hold(store: Store) -> None:
    await fill(
        store,
        [
            *(job_builders.held(id=JobId(f"a{n}"), hold_id="hold-a") for n in range(3)),
            job_builders.held(id=JobId("b"), hold_id="hold-b"),
            job_builders.held(id=JobId("free"), hold_id=None),
        ],
    )
    assert await store.read.queries.held_counts(["hold-b", "hold-a", "hold-c"]) == [1, 3, 0]
    assert await store.read.queries.held_counts([]) == []


async def test_lanes_are_counted_with_the_age_of_their_head(store: Store) -> None:
    await fill(
        store,
        [
            job_builders.queued(id=JobId("old"), queued_at=NOW - 50),
            job_builders.queued(id=JobId("first"), priority=5, queued_at=NOW - 10),
            job_builders.queued(id=JobId("kling"), target="kling", queued_at=NOW - 3),
            job_builders.running(id=JobId("r")),
            job_builders.queued(id=JobId("passed"), bypass_hold=True),
        ],
    )
    suno, kling = (Lane("default", Kind.MODEL, target) for target in ("suno", "kling"))
    stored = await store.jobs.load("kling")
    assert stored is not None
    await store.jobs.commit(stored, transitions.cancel(stored.job, NOW))
    counted = sorted((await store.read.queries.lane_counts())[0], key=lambda c: str(c.lane))
    assert counted == [LaneCount(kling, 0, 0, None), LaneCount(suno, 2, 1, NOW - 10)]


async def test_rates_are_per_minute_over_the_last_window(store: Store) -> None:
    fresh, old = NOW - 10, NOW - 100
    jobs = [
        changed(job_builders.succeeded(id=JobId("s1")), created_at=old, since=fresh),
        changed(job_builders.succeeded(id=JobId("s2")), created_at=fresh, since=fresh),
        changed(job_builders.succeeded(id=JobId("s3")), created_at=old, since=old),
        changed(job_builders.dead(id=JobId("d")), created_at=old, since=fresh),
    ]
    await fill(store, jobs)
    rates = await store.read.queries.rates(NOW)
    assert rates == {"enqueued_per_min": 1, "succeeded_per_min": 2, "dead_per_min": 1}
    doubled = await store.read.queries.rates(NOW, window_s=30)
    assert doubled == {"enqueued_per_min": 2, "succeeded_per_min": 4, "dead_per_min": 2}


@pytest.mark.parametrize("kinds", [[Kind.MODEL], [Kind.WORKFLOW], [Kind.MODEL, Kind.WORKFLOW]])
async def test_a_target_without_its_kind_is_found_whatever_runs_by_that_name(
    store: Store, kinds: list[Kind], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        job_builders.queued(id=JobId(f"{kind}{n}"), kind=kind, target="suno")
        for kind in kinds
        for n in range(5)
    ]
    await fill(
        store, [*jobs, *(job_builders.queued(id=JobId(f"x{n}"), target="x") for n in range(50))]
    )
    if len(kinds) == 1:
        monkeypatch.setattr(queries, "MAX_SCANNED_RECORDS", 10)  # it does not scan the other jobs
    pages = await read_every_page(store, Filter(target="suno"), 4)
    assert sorted(job.id for page in pages for job in page) == sorted(job.id for job in jobs)
    assert len(pages) == -(-len(jobs) // 4)
    assert (await store.read.queries.page(Filter(target="nobody"), 5)).jobs == ()


async def test_a_span_of_time_is_gone_to_directly(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        job_builders.queued(id=JobId(f"j{n:03}"), created_at=NOW + n, tags=("t",), batch="b")
        for n in range(300)
    ]
    await fill(store, jobs)
    monkeypatch.setattr(queries, "MAX_SCANNED_RECORDS", 10)
    wanted = [f"j{n:03}" for n in range(14, 9, -1)]
    for narrowed in (Filter(), Filter(tag="t"), Filter(batch="b"), Filter(target="suno")):
        spanned = replace(narrowed, since=NOW + 10, until=NOW + 15)
        assert [job.id for job in (await store.read.queries.page(spanned, 50)).jobs] == wanted
