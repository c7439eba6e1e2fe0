"""What probing breakers leave for admission, and which job probes next."""

import msgspec

from jobs.breaker_room import PROBE_CHOICE, BreakerRoom
from jobs.breakers import BreakerCause, BreakerState, FailedSubmit, new_breaker
from jobs.lanes import JobId, Lane, Scope, queue_score
from jobs.rate_limits import NO_LIMIT, Allowance
from jobs.states import Kind
from tests.unit.core.job_builders import NOW

LANE, OTHER = (Lane("default", Kind.MODEL, name) for name in ("suno", "kling"))
SCOPE = Scope(str(LANE))
HEAD = [(JobId(f"j{n}"), queue_score(100 if n < 5 else 0, NOW + n)) for n in range(20)]


def room(*probed: str, epoch: int = 0) -> BreakerRoom:
    breaker = msgspec.structs.replace(
        new_breaker(SCOPE, BreakerCause.TARGET_FAILURE),
        state=BreakerState.PROBING,
        probed_jobs=probed,
        epoch=epoch,
    )
    return BreakerRoom({SCOPE: 1}, {SCOPE: breaker})


def first(found: BreakerRoom) -> str:
    return found.in_turn(LANE, HEAD)[0][0]


def test_a_job_that_probed_the_lane_last_goes_only_if_there_is_no_other() -> None:
    assert first(room("j0", "j1")) == "j2"
    assert first(room(*(job_id for job_id, _ in HEAD))) == "j0"


def test_probes_do_not_keep_to_the_priorities_of_the_jobs() -> None:
    assert {first(room(epoch=epoch)) for epoch in range(20)} == {job_id for job_id, _ in HEAD}


def test_other_lanes_keep_their_order_and_are_not_limited() -> None:
    assert room(epoch=7).in_turn(OTHER, HEAD) == HEAD
    assert (room().heads(LANE), room().heads(OTHER)) == (PROBE_CHOICE, 0)
    assert room().within({}, [LANE, OTHER]) == {LANE: 1}
    assert room().within({LANE: 0}, [LANE]) == {LANE: 0}


def test_a_route_is_allowed_the_least_of_its_rate_limit_and_its_breaker() -> None:
    route = LANE.route
    limited = BreakerRoom({route: 2}, {})
    assert limited.allowances({route: NO_LIMIT}) == {route: Allowance(2, 2)}
    assert limited.allowances({route: Allowance(1, 3)}) == {route: Allowance(1, 2)}
    assert limited.of_lane(LANE)
    assert not BreakerRoom({route: 0}, {}).of_lane(LANE)


def test_lanes_that_lose_answers_probe_their_route_only_if_no_other_can() -> None:
    slowed = frozenset({SCOPE})
    probing = BreakerRoom({LANE.route: 1, SCOPE: 1}, {}, slowed)
    assert probing.unslowed_first({LANE: 1}, [LANE, OTHER], [HEAD, HEAD]) == {LANE: 0}
    assert probing.unslowed_first({LANE: 1}, [LANE, OTHER], [HEAD, []]) == {LANE: 1}
    full = {LANE: 1, OTHER: 0}
    assert probing.unslowed_first(full, [LANE, OTHER], [HEAD, HEAD]) == full
    closed_route = BreakerRoom({SCOPE: 1}, {}, slowed)
    assert closed_route.unslowed_first({LANE: 1}, [LANE, OTHER], [HEAD, HEAD]) == {LANE: 1}


def test_inputs_count_as_failed_only_if_several_jobs_failed_with_them() -> None:
    def failed_inputs(*failed: tuple[str, str]) -> frozenset[str]:
        submits = tuple(FailedSubmit(*one) for one in failed)
        breaker = msgspec.structs.replace(room().breakers[SCOPE], failed=submits)
        return BreakerRoom({SCOPE: 1}, {SCOPE: breaker}).failed_inputs(LANE)

    assert failed_inputs(("a:1", "x"), ("b:1", "x"), ("c:1", "y")) == {"x", "y"}
    assert not failed_inputs(("a:1", "x"), ("b:1", "y"), ("a:2", "x")), "one job, twice"
    assert not room().failed_inputs(OTHER)
