"""Lanes: the order of their jobs, which job is admitted next, and what a scope covers."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.admission import OLDEST_EVERY, FreeSlots, choose
from jobs.lanes import (
    AGING_S,
    JOB_ID,
    PRIORITY_SPAN,
    TARGET,
    JobId,
    Lane,
    Scope,
    covers,
    parse_scope,
    polls_scope,
    priority_of,
    queue_score,
    queued_at_of,
)
from jobs.rate_limits import Allowance
from jobs.states import Kind

A, B, C = (Lane("default", Kind.MODEL, name) for name in "abc")
Head = list[tuple[JobId, float]]

quick = settings(max_examples=60, database=None)
priorities = st.integers(-PRIORITY_SPAN, PRIORITY_SPAN)
milliseconds = st.integers(0, 8_450_000_000_000)
"""Since 1970, until 2238."""


def head(*jobs: tuple[int, float]) -> Head:
    """Jobs of these priorities and ages, in queue order."""
    return sorted(
        ((JobId(f"p{p}@{at:g}"), queue_score(p, at)) for p, at in jobs), key=lambda j: j[1]
    )


# The queue.


@quick
@given(priorities, milliseconds)
def test_a_queue_score_encodes_the_priority_and_the_millisecond(priority: int, ms: int) -> None:
    score = queue_score(priority, ms / 1000)
    assert priority_of(score) == priority
    assert round(queued_at_of(score) * 1000) == ms


@quick
@given(priorities, priorities, milliseconds, milliseconds)
def test_the_queue_goes_by_age_and_a_step_of_priority_is_worth_an_hour(
    p: int, q: int, first: int, second: int
) -> None:
    before = queue_score(p, first / 1000) < queue_score(q, second / 1000)
    hour = 1000 * AGING_S
    assert before is ((first - p * hour, -p) < (second - q * hour, -q))


def test_the_urgent_passes_a_long_backlog_and_low_priority_is_not_starved() -> None:
    now = 1_790_000_000.0
    backlog, urgent = queue_score(0, now - 9 * AGING_S), queue_score(10, now)
    aged_low = queue_score(-1, now - 1.01 * AGING_S)
    assert urgent < backlog
    assert aged_low < queue_score(0, now)


# Admission.


def names(
    free: int,
    lanes: list[Lane],
    heads: list[Head],
    left: Mapping[Scope, Allowance] | None = None,
    served: int = 0,
    **room: int,
) -> list[str]:
    by_lane = {lane: room[lane.target] for lane in lanes if lane.target in room}
    slots = FreeSlots(free, 0)
    picks = choose(lanes, heads, slots, by_lane, allowances=left, picked_before=served)
    return [f"{pick.lane.target}:{pick.job_id}" for pick in picks]


def test_a_higher_priority_goes_first_whoever_has_the_turn() -> None:
    heads = [head((0, 1), (0, 2)), head((5, 9)), head((-3, 0))]
    assert names(9, [A, B, C], heads) == ["b:p5@9", "a:p0@1", "a:p0@2", "c:p-3@0"]


def test_lanes_of_equal_priority_take_turns() -> None:
    heads = [head((0, 1), (0, 2), (0, 3)), head((0, 7), (0, 8)), head((0, 9))]
    picked_names = names(5, [A, B, C], heads)
    assert picked_names == ["a:p0@1", "b:p0@7", "c:p0@9", "a:p0@2", "b:p0@8"]


def test_the_lane_whose_turn_is_next_begins() -> None:
    assert names(1, [B, A], [head((0, 9)), head((0, 1))]) == ["b:p0@9"]


def test_a_lane_gets_no_more_than_its_room() -> None:
    heads = [head((0, 1), (0, 2), (0, 3)), head((0, 7), (0, 8))]
    assert names(9, [A, B], heads, a=1, b=0) == ["a:p0@1"]


def test_a_route_gives_no_more_than_it_has_left_and_its_lanes_share_it() -> None:
    heads = [head((0, 1), (0, 2), (0, 3)), head((0, 7), (0, 8))]
    assert names(9, [A, B], heads, {A.route: Allowance(3, 3)}) == ["a:p0@1", "b:p0@7", "a:p0@2"]


def test_what_is_reserved_goes_to_the_urgent_alone() -> None:
    heads = [head((0, 1), (0, 2)), head((1, 8), (0, 7))]
    assert names(9, [A, B], heads, {A.route: Allowance(0, 5)}) == ["b:p1@8"]
    assert names(9, [A, B], heads, {A.route: Allowance(1, 5)}) == ["b:p1@8"]
    assert names(9, [A, B], heads, {A.route: Allowance(2, 5)}) == ["b:p1@8", "a:p0@1"]


def test_the_urgent_takes_of_the_reserve_past_an_aged_job_before_it() -> None:
    queue = head((0, 1), (1, 1 + 2 * AGING_S))
    assert queue[0][0] == "p0@1"
    assert names(9, [A], [queue], {A.route: Allowance(0, 5)}) == ["a:p1@7201"]


def test_now_and_then_the_longest_waiting_lane_goes_first_whatever_its_priority() -> None:
    heads = [head((-9, 1), (-9, 2)), head(*((5, 10 + n) for n in range(20)))]
    picked_names = names(16, [A, B], heads)
    assert [n for n, name in enumerate(picked_names, 1) if name.startswith("a:")] == [8, 16]
    assert names(1, [A, B], heads, served=OLDEST_EVERY - 1) == ["a:p-9@1"]


def test_empty_lanes_and_no_free_slot_give_nothing() -> None:
    assert names(3, [A, B], [[], []]) == []
    assert names(0, [A], [head((0, 1))]) == []
    assert names(3, [], []) == []


def picked_sync(free: FreeSlots, heads: list[Head], **room: int) -> list[str]:
    """What is picked of the lanes A, B and C, of which B and C are sync-only."""
    by_lane = {lane: room[lane.target] for lane in (A, B, C) if lane.target in room}
    picks = choose([A, B, C], heads, free, by_lane, sync_only={B, C})
    return [pick.lane.target for pick in picks]


def test_sync_runs_take_slots_of_their_own_and_submits_theirs() -> None:
    long = [head(*((0, n) for n in range(9))) for _ in range(3)]
    assert Counter(picked_sync(FreeSlots(2, 4), long)) == {"a": 2, "b": 2, "c": 2}
    assert picked_sync(FreeSlots(3, 0), long) == ["a", "a", "a"]
    assert picked_sync(FreeSlots(0, 3), long) == ["b", "c", "b"]
    assert picked_sync(FreeSlots(-2, -1), long) == []


def test_a_full_sort_of_slots_does_not_end_the_turns_of_the_other() -> None:
    """Also where the full sort's jobs are more urgent, or have waited longest."""
    heads = [head(*((0, 100 + n) for n in range(20))), head(*((9, n) for n in range(20))), []]
    assert picked_sync(FreeSlots(20, 2), heads) == ["b", "b", *"a" * 20]
    assert picked_sync(FreeSlots(20, 20), heads, b=1) == ["b", *"a" * 20]


def test_submits_and_sync_runs_share_the_requests_of_their_route() -> None:
    heads = [head((0, 1), (0, 2), (0, 3)), head((0, 7), (0, 8)), []]
    picks = choose(
        [A, B, C], heads, FreeSlots(9, 9), {}, sync_only={B}, allowances={A.route: Allowance(3, 3)}
    )
    assert [pick.lane.target for pick in picks] == ["a", "b", "a"]


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[Lane], list[Head], int, Mapping[Lane, int]]:
    lanes = [Lane("default", Kind.MODEL, f"t{n}") for n in range(draw(st.integers(0, 4)))]
    heads = [
        sorted(
            (
                (JobId(f"{lane.target}-{n}"), queue_score(priority, n))
                for n, priority in enumerate(draw(st.lists(st.integers(-2, 2), max_size=5)))
            ),
            key=lambda job: job[1],
        )
        for lane in lanes
    ]
    capped = draw(st.lists(st.none() | st.integers(0, 4), min_size=len(lanes), max_size=len(lanes)))
    room = {lane: cap for lane, cap in zip(lanes, capped, strict=True) if cap is not None}
    return lanes, heads, draw(st.integers(0, 12)), room


@quick
@given(queues())
def test_a_choice_is_fair_and_bounded(
    found: tuple[list[Lane], list[Head], int, Mapping[Lane, int]],
) -> None:
    lanes, heads, free, room = found
    picks = choose(lanes, heads, FreeSlots(free, 0), room)
    counts = Counter(pick.lane for pick in picks)
    limits = {
        lane: min(len(queue), room.get(lane, free))
        for lane, queue in zip(lanes, heads, strict=True)
    }
    assert len(picks) == min(free, sum(limits.values())), "a slot is left idle, or overfilled"
    assert all(counts[lane] <= limits[lane] for lane in lanes)
    scores: dict[JobId, float] = {job: score for queue in heads for job, score in queue}
    for lane, queue in zip(lanes, heads, strict=True):
        picked = [pick.job_id for pick in picks if pick.lane == lane]
        assert picked == [job for job, _ in queue[: len(picked)]], "the order of a lane is kept"
        if len(picked) < limits[lane] and picks:
            waiting_priority = priority_of(queue[len(picked)][1])
            less = [pick for pick in picks if priority_of(scores[pick.job_id]) < waiting_priority]
            assert len(less) <= len(picks) // OLDEST_EVERY, "only every eighth goes by age"


# Lanes and scopes.


def test_a_lane_is_covered_by_its_account_its_route_and_itself() -> None:
    lane = Lane("default", Kind.MODEL, "suno")
    assert str(lane) == "default/model/suno"
    assert lane.scopes == ("default", "default/model", "default/model/suno")
    assert lane.route == "default/model"
    assert Lane.parse(str(lane)) == lane


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("default", True),
        ("default/model", True),
        ("default/model/suno", True),
        ("other", False),
        ("default/workflow", False),
        ("default/model/sun", False),
        ("default/model/suno-2", False),
        ("default/executions", False),
        ("def", False),
    ],
)
def test_a_scope_covers_whole_names_only(scope: str, *, covered: bool) -> None:
    assert covers(Scope(scope), Lane("default", Kind.MODEL, "suno")) is covered


def test_the_polls_of_an_account_are_a_route_of_their_own() -> None:
    assert polls_scope("default") == "default/executions"


@pytest.mark.parametrize("text", ["default", "default/model", "a-1/workflow/my-flow"])
def test_a_scope_is_read_as_operators_write_it(text: str) -> None:
    assert parse_scope(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "/", "default/", "default/video", "default/model/", "A", "d/model/x/y", "d/model/X"],
)
def test_what_is_no_scope_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="default/model/gpt-image-2"):
        parse_scope(text)


@pytest.mark.parametrize("text", ["default/model", "default/video/suno", "a/model/b/c", ""])
def test_what_is_no_lane_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Lane.parse(text)


@pytest.mark.parametrize("job_id", ["a", "01J9ZK-x_y.z:1@2", "x" * 128])
def test_a_plain_job_id_is_taken(job_id: str) -> None:
    assert JOB_ID.fullmatch(job_id)


@pytest.mark.parametrize("job_id", ["", "-a", "a b", "a/b", "a\n", "ä", "x" * 129])
def test_any_other_job_id_is_not(job_id: str) -> None:
    assert not JOB_ID.fullmatch(job_id)


@pytest.mark.parametrize("target", ["-a", "a-", "A", "a_b", "a/b", "", "x" * 129])
def test_a_target_is_lowercase_letters_digits_and_hyphens(target: str) -> None:
    assert TARGET.fullmatch("gpt-image-2")
    assert not TARGET.fullmatch(target)
