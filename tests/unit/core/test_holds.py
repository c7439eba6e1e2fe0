"""Gates: how a hold stands, is released, opens in steps and relapses; how scopes cool down."""

import pytest
from msgspec.structs import replace

from jobs.holds import (
    FULLY_OPEN_STEP,
    Canary,
    CoolDown,
    Gates,
    Hold,
    HoldPhase,
    apply_accept,
    apply_refusal,
    apply_release,
    has_proved_open,
    hold_id,
)
from jobs.lanes import Lane, Scope
from jobs.states import Kind
from tests.unit.core.job_builders import NOW

LANE = Lane("default", Kind.MODEL, "suno")


def a_hold(scope: str = "default", code: str = "INSUFFICIENT_CREDITS") -> Hold:
    return Hold(
        id=hold_id(Scope(scope), code),
        scope=Scope(scope),
        code=code,
        created_at=NOW,
        message="first",
        action="Top up",
    )


def opening(step: int, count: int = 0) -> Hold:
    hold = apply_release(a_hold(), NOW, by="ann")
    while hold.step < step:
        hold = passed(hold, hold.step)
    return passed(hold, count)


def passed(hold: Hold, submits: int) -> Hold:
    for _ in range(submits):
        after = apply_accept(hold)
        assert after is not None
        hold = after
    return hold


def test_a_refusal_places_a_hold() -> None:
    hold = apply_refusal(None, a_hold())
    assert (hold.phase, hold.hits, hold.relapses) == (HoldPhase.CLOSED, 1, 0)


def test_another_refusal_is_a_hit_of_the_same_hold_and_updates_its_message() -> None:
    later = Hold(
        id="another", scope=Scope("default"), code="X", created_at=NOW + 9, message="again"
    )
    hold = apply_refusal(a_hold(), later)
    assert (hold.id, hold.created_at, hold.hits) == (a_hold().id, NOW, 2)
    assert (hold.message, hold.action) == ("again", "")
    assert hold.relapses == 0


def test_a_released_hold_lets_one_canary_through() -> None:
    hold = apply_release(a_hold(), NOW + 5, by="ann", note="topped up")
    assert (hold.phase, hold.step, hold.accepted) == (HoldPhase.OPENING, 1, 0)
    assert (hold.released_at, hold.released_by, hold.note) == (NOW + 5, "ann", "topped up")


def test_a_release_without_a_note_keeps_the_one_there_was() -> None:
    noted = apply_refusal(None, a_hold())
    noted = apply_release(noted, NOW, by="ann", note="first")
    assert apply_release(noted, NOW, by="bob").note == "first"


def test_a_gate_opens_in_doubling_steps_and_is_gone_at_the_end() -> None:
    hold: Hold | None = apply_release(a_hold(), NOW, by="ann")
    steps: dict[int, int] = {}
    while hold is not None:
        steps[hold.step] = steps.get(hold.step, 0) + 1
        hold = apply_accept(hold)
    assert steps == {1: 1, 2: 2, 4: 4, 8: 8, 16: 16, 32: 32, 64: 64}
    assert FULLY_OPEN_STEP == 64


def test_a_step_counts_what_was_accepted_in_it() -> None:
    assert (opening(4, 3).step, opening(4, 3).accepted) == (4, 3)
    assert (passed(opening(4, 3), 1).step, passed(opening(4, 3), 1).accepted) == (8, 0)


def test_an_accepted_submit_does_not_open_a_closed_gate() -> None:
    assert apply_accept(a_hold()) == a_hold()


@pytest.mark.parametrize("step", [1, 2, 16])
def test_a_refusal_while_opening_is_a_relapse_and_starts_over(step: int) -> None:
    hold = apply_refusal(opening(step), a_hold())
    assert (hold.phase, hold.step, hold.accepted) == (HoldPhase.CLOSED, 0, 0)
    assert (hold.hits, hold.relapses) == (2, 1)
    again = apply_refusal(hold, a_hold())
    assert (again.hits, again.relapses) == (3, 1), "only the first refusal after a release relapses"
    twice = apply_refusal(apply_release(again, NOW, by="ann"), a_hold())
    assert (twice.hits, twice.relapses) == (4, 2)


def test_one_cause_in_one_scope_has_one_id() -> None:
    assert hold_id(Scope("default"), "X") == hold_id(Scope("default"), "X")
    ids = {hold_id(Scope(scope), code) for scope in ("default", "other") for code in "XY"}
    assert len(ids) == 4
    assert a_hold().key == "default|INSUFFICIENT_CREDITS"


@pytest.mark.parametrize("scope", LANE.scopes)
def test_a_closed_hold_closes_every_lane_it_covers(scope: Scope) -> None:
    gates = Gates(holds=(a_hold(scope),))
    assert gates.closing_hold(LANE) == a_hold(scope)
    assert not gates.admits(LANE, NOW)
    assert gates.opening_holds(LANE) == ()


@pytest.mark.parametrize("scope", ["other", "default/workflow", "default/model/other"])
def test_a_hold_closes_no_other_lane(scope: str) -> None:
    gates = Gates(holds=(a_hold(scope),))
    assert gates.closing_hold(LANE) is None
    assert gates.admits(LANE, NOW)


def test_an_opening_hold_closes_nothing_and_counts_what_passes() -> None:
    hold = apply_release(a_hold(), NOW, by="ann")
    elsewhere = apply_release(a_hold("other"), NOW, by="ann")
    gates = Gates(holds=(hold, elsewhere))
    assert gates.admits(LANE, NOW)
    assert gates.opening_holds(LANE) == (hold,)


def test_a_hold_bypass_goes_through_a_closed_gate_but_not_through_a_cool_down() -> None:
    closed = Gates(holds=(a_hold(),))
    assert closed.admits(LANE, NOW, bypass_hold=True)
    cooling = Gates(cool_downs=(CoolDown(Scope("default"), NOW + 5, "unreachable"),))
    assert not cooling.admits(LANE, NOW, bypass_hold=True)


@pytest.mark.parametrize("scope", LANE.scopes)
def test_a_cool_down_closes_what_it_covers_and_opens_by_itself(scope: Scope) -> None:
    gates = Gates(cool_downs=(CoolDown(scope, NOW + 5, "429"),))
    assert not gates.admits(LANE, NOW)
    assert not gates.admits(LANE, NOW + 4.999)
    assert gates.admits(LANE, NOW + 5)


def test_the_cool_down_that_ends_last_is_returned() -> None:
    short, long = CoolDown(Scope("default"), NOW + 1), CoolDown(LANE.route, NOW + 9)
    other = CoolDown(Scope("other"), NOW + 99)
    gates = Gates(cool_downs=(short, long, other))
    assert gates.running_cool_down(LANE.scopes, NOW) == long
    assert gates.running_cool_down([Scope("default")], NOW) == short
    assert gates.running_cool_down(LANE.scopes, NOW + 10) is None


# Holds whose canary is a poll.

POLL_HOLD = Hold(
    id="hold-p",
    scope=Scope("default"),
    code="CAPABILITY_DENIED",
    created_at=100.0,
    canary=Canary.POLL,
)


def test_a_released_hold_stops_submits_until_a_paid_run_was_polled() -> None:
    assert POLL_HOLD.stops_submits
    assert apply_release(POLL_HOLD, 200.0, by="ann", is_polled=True).stops_submits


def test_without_a_paid_run_one_submit_passes_and_its_poll_decides() -> None:
    released = apply_release(POLL_HOLD, 200.0, by="ann")
    assert (released.step, released.stops_submits) == (1, False)
    ended = apply_accept(released, is_ended=True)
    assert ended == released, "a run that ended with its answer proves no poll"
    accepted = apply_accept(released)
    assert accepted is not None
    assert accepted.stops_submits
    assert not has_proved_open(accepted, 1e9)


def test_a_refused_poll_closes_it_again_unless_it_was_sent_before_the_release() -> None:
    released = apply_release(POLL_HOLD, 200.0, by="ann", is_polled=True)
    stale = apply_refusal(released, replace(POLL_HOLD, created_at=199.0))
    assert (stale.phase, stale.relapses, stale.hits) == (HoldPhase.OPENING, 0, 2)
    again = apply_refusal(released, replace(POLL_HOLD, created_at=201.0))
    assert (again.phase, again.relapses) == (HoldPhase.CLOSED, 1)
