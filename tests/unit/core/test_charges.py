"""What the attempts of a job add to the sums of the ledger."""

from collections import Counter
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import transitions
from jobs.credits.charges import (
    MICRO,
    Dimension,
    LedgerSum,
    Measure,
    changed_sums,
    day_of,
    fallback_of,
    micro_credits,
)
from jobs.credits.closing import FIRST_CHECK_S, awaits_cost
from jobs.credits.reconcile import DifferenceKind, reconcile
from jobs.credits.report import CreditsBy, CreditsRow, CreditsRows, DaySum, days_between, total
from jobs.credits.rows import has_shown_its_row, named_costs, next_check_at, unnamed_costs
from jobs.credits.sources import CostSource
from jobs.evidence.reading import UsageReading
from jobs.evidence.records import EvidenceFinding
from jobs.evidence.runs import runs_of
from jobs.job import Job
from jobs.outcomes import Finished, ProviderError
from jobs.states import Kind, Mode, State
from jobs.usage import UsageRow
from tests.unit.core import job_builders as build
from tests.unit.core.job_builders import FAILED, NOW, changed
from tests.unit.core.random_walk import walked

DAY = day_of(NOW)
LANE = "default/model/suno"
WEBHOOK_END = Finished(b"{}", cost=None)
INCOMPLETE = ProviderError("PROVIDER_RESPONSE_INCOMPLETE", "no output", 200)


def sums(job: Job, dimension: Dimension = Dimension.LANE, name: str = LANE) -> dict[Measure, int]:
    """What a job adds to the sums of one name."""
    found = changed_sums(None, job)
    return {
        key.measure: amount
        for key, amount in found.items()
        if (key.dimension, key.name) == (dimension, name)
    }


def ran(outcome: Any = WEBHOOK_END, **facts: Any) -> Job:
    """A job whose run has ended; its estimate is 7 credits."""
    running = changed(build.running(**facts), estimate=7.0)
    if isinstance(outcome, ProviderError):
        return transitions.retry(running, NOW + 9, outcome, due_at=NOW + 20)
    return transitions.succeed(running, NOW + 9, outcome)


def test_an_answer_that_names_the_cost_is_charged_once() -> None:
    job = ran(Finished(b"{}", cost=2.5))
    assert sums(job) == {Measure.CREDITS: 2_500_000, Measure.CHARGES: 1}
    assert changed_sums(job, job) == {}
    assert job.cost == 2.5
    assert job.cost_check_at is None


def test_an_end_without_a_cost_is_booked_with_the_estimate_and_looked_up() -> None:
    job = ran()
    assert sums(job) == {
        Measure.CREDITS: 7 * MICRO,
        Measure.CHARGES: 1,
        Measure.ESTIMATED: 7 * MICRO,
    }
    assert job.cost is None
    assert job.cost_check_at == NOW + 9 + FIRST_CHECK_S


def test_usage_replaces_an_estimate_once() -> None:
    before = ran()
    after = transitions.record_costs(before, NOW + 60, {1: 11.0}, next_check_at=NOW + 120)
    assert changed_sums(before, after) == {
        LedgerSum(DAY, Dimension.LANE, LANE, Measure.CREDITS): 4 * MICRO,
        LedgerSum(DAY, Dimension.LANE, LANE, Measure.ESTIMATED): -7 * MICRO,
        LedgerSum(DAY, Dimension.LANE, LANE, Measure.USAGE): 11 * MICRO,
    }
    assert (after.cost, after.cost_check_at) == (11.0, None)
    again = transitions.record_costs(after, NOW + 90, {1: 99.0}, next_check_at=NOW + 120)
    assert changed_sums(after, again) == {}
    assert again.cost == 11.0


def test_an_unknown_cost_without_an_estimate_is_counted_as_unknown() -> None:
    job = transitions.succeed(changed(build.running(), estimate=None), NOW + 9, WEBHOOK_END)
    assert sums(job) == {Measure.CHARGES: 1, Measure.UNKNOWN: 1}
    known = transitions.record_costs(job, NOW + 60, {1: 3.0}, next_check_at=None)
    assert sums(known)[Measure.CREDITS] == 3 * MICRO
    assert Measure.UNKNOWN not in sums(known)


@pytest.mark.parametrize("cost", [-1.0, 1e12, float("inf"), float("nan")])
def test_a_cost_that_is_not_to_be_believed_is_no_amount(cost: float) -> None:
    assert micro_credits(cost) is None
    assert Measure.CREDITS in sums(ran(Finished(b"{}", cost=cost)))
    assert sums(ran(Finished(b"{}", cost=cost)))[Measure.CREDITS] == 7 * MICRO


def test_a_failed_run_is_booked_unless_its_code_is_free() -> None:
    assert sums(ran(FAILED))[Measure.ESTIMATED] == 7 * MICRO
    assert sums(ran(INCOMPLETE)) == {}


def test_a_refused_submit_costs_nothing() -> None:
    refused = transitions.retry(
        changed(build.submitted(), estimate=7.0),
        NOW + 1,
        ProviderError("RATE", "", 500),
        due_at=NOW + 5,
    )
    assert sums(refused) == {}
    assert refused.cost_check_at is None


def test_an_uncertain_submit_is_booked_when_it_is_resolved() -> None:
    waiting = transitions.park_uncertain(
        changed(build.submitted(), estimate=7.0), NOW + 5, why="lost"
    )
    assert sums(waiting) == {}
    assert waiting.cost_check_at is None
    for resolved in (
        transitions.resubmit(waiting, NOW + 9, by="me"),
        transitions.discard(waiting, NOW + 9, by="me"),
    ):
        assert sums(resolved)[Measure.ESTIMATED] == 7 * MICRO
        assert resolved.cost_check_at == NOW + 9 + FIRST_CHECK_S


def test_a_submit_that_did_not_start_costs_nothing() -> None:
    waiting = transitions.park_uncertain(
        changed(build.submitted(), estimate=7.0), NOW + 5, why="lost"
    )
    (submit,) = waiting.uncertain_submits
    found = msgspec.structs.replace(submit, finding=EvidenceFinding.NOT_STARTED)
    waiting = changed(waiting, uncertain_submits=(found,))
    resolved = transitions.resubmit(waiting, NOW + 9, by="me")
    assert Measure.CREDITS not in sums(resolved) or sums(resolved)[Measure.CREDITS] == 0
    assert resolved.cost_check_at is None


def test_the_cost_of_a_retry_and_of_a_dead_letter_are_told_apart() -> None:
    first = transitions.retry(
        changed(build.running(), estimate=7.0), NOW + 9, FAILED, due_at=NOW + 20
    )
    assert Measure.RETRIES not in sums(first)
    queued = transitions.promote(first, NOW + 20)
    admitted = transitions.admit(
        queued, NOW + 21, submit_token="h2", lease_until=NOW + 60, opening_hold_ids=()
    )
    second = transitions.send(admitted, NOW + 21, owner="w", lease_until=NOW + 60)
    assert sums(second)[Measure.RETRIES] == 7 * MICRO
    reason = build.dead().reason
    assert reason is not None
    dead = transitions.dead_letter(second, NOW + 30, FAILED, reason)
    assert sums(dead)[Measure.DEAD] == 7 * MICRO
    requeued = transitions.requeue(dead, NOW + 40, by="me")
    assert Measure.DEAD not in sums(requeued)
    assert sums(transitions.discard(dead, NOW + 40, by="me"))[Measure.DEAD] == 7 * MICRO


def test_a_charge_belongs_to_every_tag_and_to_the_batch() -> None:
    job = ran(Finished(b"{}", cost=1.0), tags=("a", "b"), batch="spring")
    for dimension, name in (
        (Dimension.TAG, "a"),
        (Dimension.TAG, "b"),
        (Dimension.BATCH, "spring"),
    ):
        assert sums(job, dimension, name)[Measure.CREDITS] == MICRO


def test_attempts_that_are_dropped_from_the_record_stay_in_the_sums() -> None:
    before = ran(Finished(b"{}", cost=2.0))
    assert changed_sums(before, changed(before, attempts=())) == {}


@given(st.lists(st.integers(0, 999), min_size=1, max_size=60))
def test_the_sums_of_all_steps_are_those_of_the_last_record(choices: list[int]) -> None:
    """Whatever happens to a job, the differences add up to what its record says."""
    start = build.queued(tags=("a",), batch="b")
    history = walked(start, choices, NOW)
    added = Counter(changed_sums(None, start))
    for before, _, after in history:
        for key, amount in changed_sums(before, after).items():
            added[key] += amount
    last = history[-1][2]
    assert {key: n for key, n in added.items() if n} == changed_sums(None, last)


# Rows of the provider's list.


def row(number: int, **facts: Any) -> UsageRow:
    usual: dict[str, Any] = {
        "id": number,
        "kind": Kind.MODEL,
        "targets": ("suno",),
        "status": "completed",
        "credits": 11.0,
        "created_at": NOW + 1,
    }
    return UsageRow(**(usual | facts))


def test_a_row_with_the_request_id_tells_the_cost() -> None:
    job = ran()
    assert named_costs(job, {"req-1": row(1, request_id="req-1")}) == {1: 11.0}
    assert named_costs(job, {"req-1": row(1, status="processing")}) == {}
    assert named_costs(job, {"req-2": row(1)}) == {}


def test_rows_without_a_request_id_of_ours_are_shared_out() -> None:
    waiting = transitions.park_uncertain(
        changed(build.submitted(), estimate=7.0), NOW + 5, why="lost"
    )
    lost = transitions.discard(waiting, NOW + 9, by="me")
    runs = runs_of(lost)
    assert unnamed_costs(runs, [row(1, request_id="other")]) == {("j1", 1): 11.0}
    assert unnamed_costs(runs, [row(1, status="processing")]) == {("j1", 1): None}
    assert unnamed_costs(runs, [row(1, created_at=NOW + 900)]) == {("j1", 1): 0.0}
    assert unnamed_costs(runs, [row(1, created_at=NOW - 900)]) == {("j1", 1): 0.0}
    assert unnamed_costs(runs, [row(1, targets=("gpt-image-2",))]) == {("j1", 1): 0.0}


def test_a_row_that_another_run_surely_has_is_not_given_to_an_uncertain_one() -> None:
    waiting = transitions.park_uncertain(
        changed(build.submitted(), estimate=7.0), NOW + 5, why="lost"
    )
    lost = transitions.discard(waiting, NOW + 9, by="me")
    answered = changed(
        transitions.succeed(build.sync_run(), NOW + 9, Finished(b"{}", cost=11.0)), id="j2"
    )
    found = unnamed_costs([*runs_of(lost), *runs_of(answered)], [row(1)])
    assert found["j1", 1] == 0.0


def test_the_list_is_read_again_less_and_less_often_for_a_week() -> None:
    job = ran()
    pauses: list[float] = []
    now = NOW + 60
    while (at := next_check_at(job, now)) is not None:
        pauses.append(at - now)
        now = at
    assert pauses[0] == 60
    assert max(pauses) == 6 * 3_600
    assert 7 * 86_400 <= now - NOW <= 7.5 * 86_400
    assert len(pauses) < 60
    left = transitions.record_costs(job, now, {}, next_check_at=None)
    assert left.cost_check_at is None
    assert awaits_cost(left.attempts[0])


# Reports.


def test_a_report_adds_up_by_day_account_and_target() -> None:
    stored = [
        DaySum("2026-11-01", "a/model/x", Measure.CREDITS, 5 * MICRO),
        DaySum("2026-11-02", "a/model/y", Measure.CREDITS, 7 * MICRO),
        DaySum("2026-11-02", "b/model/x", Measure.CREDITS, 1),
        DaySum("2026-11-02", "b/model/x", Measure.CHARGES, 2),
    ]

    def rows(by: CreditsBy) -> list[CreditsRow]:
        found = CreditsRows(by)
        for one in stored:
            found.add(one)
        return found.rows()

    by_day = rows(CreditsBy.DAY)
    assert [(row.key, row.credits) for row in by_day] == [
        ("2026-11-01", 5.0),
        ("2026-11-02", 7.000001),
    ]
    by_account = {row.key: row.credits for row in rows(CreditsBy.ACCOUNT)}
    assert by_account == {"a": 12.0, "b": 0.000001}
    assert [row.key for row in rows(CreditsBy.TARGET)] == ["model/y", "model/x"]
    assert total(by_day).credits == 12.000001
    assert total(by_day).charges == 2


def test_a_name_too_many_is_added_to_the_other_of_its_account() -> None:
    assert fallback_of(Dimension.LANE, "studio/workflow/x") == "studio/workflow/other"
    assert fallback_of(Dimension.TAG, "x") == "other"


def test_days_are_those_of_utc() -> None:
    assert day_of(1_772_323_199.9) == "2026-02-28"
    assert day_of(1_772_323_200.0) == "2026-03-01"
    assert days_between(date(2026, 2, 27), date(2026, 3, 1)) == [
        "2026-02-27",
        "2026-02-28",
        "2026-03-01",
    ]
    assert len(days_between(date(2000, 1, 1), date(2026, 3, 1))) == 400


def test_a_source_is_none_where_an_answer_named_the_cost() -> None:
    assert ran(Finished(b"{}", cost=1.0)).attempts[-1].cost_source is None
    assert ran().attempts[-1].cost_source is CostSource.ESTIMATE
    assert ran().state is State.SUCCEEDED


# The comparison with the provider's list.


def test_a_free_failed_run_whose_row_says_so_is_no_difference() -> None:
    free = ran(INCOMPLETE)
    same = reconcile(runs_of(free), [row(1, request_id="req-1", status="failed", credits=0.0)], NOW)
    assert same.differences == []
    (other,) = reconcile(
        runs_of(free), [row(1, request_id="req-1", status="failed", credits=4.0)], NOW
    ).differences
    assert (other.kind, other.ours, other.theirs) == (DifferenceKind.OTHER_COST, None, 4.0)


def test_an_estimate_whose_row_names_the_cost_is_not_read_yet() -> None:
    (one,) = reconcile(runs_of(ran()), [row(1, request_id="req-1")], NOW).differences
    assert (one.kind, one.theirs) == (DifferenceKind.NOT_READ_YET, 11.0)


def test_an_uncertain_submit_counts_with_what_it_cost_once_that_is_known() -> None:
    waiting = transitions.park_uncertain(
        changed(build.submitted(), estimate=7.0), NOW + 5, why="lost"
    )
    (one,) = reconcile(runs_of(waiting), [row(1)], NOW).differences
    assert (one.kind, one.ours, one.theirs) == (DifferenceKind.NOT_RESOLVED, None, 11.0)
    assert reconcile(runs_of(waiting), [], NOW).differences == [], "an operator decides"
    lost = transitions.discard(waiting, NOW + 9, by="me")
    known = transitions.record_costs(lost, NOW + 60, {1: 11.0}, next_check_at=None)
    found = reconcile(runs_of(known), [row(1)], NOW)
    assert (found.ours, found.theirs, found.differences) == (11.0, 11.0, [])


def test_a_run_has_no_row_only_once_its_row_must_be_there() -> None:
    """A sync run goes on at the provider after we lost it; a reading may not reach back to it."""
    attempt = ran().attempts[0]
    sync = msgspec.structs.replace(attempt, mode=Mode.SYNC)
    soon = UsageReading(floor_at=NOW - 600, started_at=NOW + 100)
    assert has_shown_its_row(attempt, soon, 60, 600)
    assert not has_shown_its_row(sync, soon, 60, 600)
    answered = msgspec.structs.replace(
        sync, outcome="failed", code="EXECUTION_FAILED", http_status=500
    )
    assert has_shown_its_row(answered, soon, 60, 600), "its answer came with the end of the run"
    assert has_shown_its_row(sync, UsageReading(NOW - 600, NOW + 700), 60, 600)
    shallow = UsageReading(floor_at=NOW - 10, started_at=NOW + 100)
    assert not has_shown_its_row(attempt, shallow, 60, 600)
    shallow.is_whole = True
    assert has_shown_its_row(attempt, shallow, 60, 600)
