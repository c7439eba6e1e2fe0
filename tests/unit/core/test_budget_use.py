"""What jobs reserve and have spent of budgets: a pure function of the record, settled in place."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from jobs import transitions
from jobs.budgets.periods import Window
from jobs.budgets.record import Budget, BudgetPeriod
from jobs.budgets.reservation import Reservation
from jobs.budgets.room import BudgetStatus
from jobs.budgets.use import BudgetPart, BudgetUse, UsedPart, changed_use
from jobs.credits.charges import MICRO
from jobs.job import ATTEMPTS_KEPT, Job
from jobs.outcomes import Finished
from tests.unit.core.job_builders import ACCEPTED, FAILED, NOW, a_job

RESERVED = Reservation("b", 7, "2026-11-27", 10 * MICRO)
TWO = (RESERVED, Reservation("all", 3, "total", 10 * MICRO))


def admitted(job: Job | None = None, *reservations: Reservation) -> Job:
    return transitions.admit(
        job or a_job(),
        NOW,
        submit_token="t",
        lease_until=NOW + 30,
        opening_hold_ids=(),
        estimate=10.0,
        reservations=reservations or (RESERVED,),
    )


def sent(job: Job | None = None) -> Job:
    return transitions.send(job or admitted(), NOW, owner="w", lease_until=NOW + 30)


def use(job: Job) -> tuple[float, float]:
    """What is spent and reserved of the budget, in credits."""
    found = changed_use(None, job)
    assert {(part.budget, part.generation, part.period) for part in found} <= {
        ("b", 7, "2026-11-27")
    }
    sums = {part.part: amount / MICRO for part, amount in found.items()}
    return sums.get(BudgetPart.SPENT, 0), sums.get(BudgetPart.RESERVED, 0)


def done(job: Job, cost: float | None) -> Job:
    return transitions.succeed(job, NOW, Finished(b"{}", cost=cost))


def test_a_job_reserves_from_its_admission_and_spends_what_its_run_cost() -> None:
    assert use(a_job()) == (0, 0)
    assert use(admitted()) == (0, 10)
    assert use(sent()) == (0, 10)
    running = transitions.accept(sent(), NOW, ACCEPTED, next_poll_at=NOW)
    assert use(running) == (0, 10)
    assert use(done(running, 12.5)) == (12.5, 0)


def test_each_budget_has_its_own_sums() -> None:
    job = done(sent(admitted(None, *TWO)), 4.0)
    assert changed_use(None, job) == {
        UsedPart("b", 7, "2026-11-27", BudgetPart.SPENT): 4 * MICRO,
        UsedPart("all", 3, "total", BudgetPart.SPENT): 4 * MICRO,
    }


def test_an_end_without_a_cost_books_the_estimate_and_the_list_of_runs_corrects_it_once() -> None:
    running = transitions.accept(sent(), NOW, ACCEPTED, next_poll_at=NOW)
    ended = done(running, None)
    assert use(ended) == (10, 0)
    known = transitions.record_costs(ended, NOW, {1: 8.0}, next_check_at=None)
    assert use(known) == (8, 0)
    assert use(transitions.record_costs(known, NOW, {1: 99.0}, next_check_at=None)) == (8, 0)
    assert changed_use(ended, known) == {
        UsedPart("b", 7, "2026-11-27", BudgetPart.SPENT): -2 * MICRO
    }


def test_an_unknown_outcome_keeps_what_it_reserved_until_it_is_resolved() -> None:
    lost = transitions.park_uncertain(sent(), NOW, why="lost")
    assert use(lost) == (0, 10)
    again = transitions.resubmit(lost, NOW, by="ann")
    assert use(again) == (10, 0)
    assert use(admitted(again)) == (10, 10)
    assert use(transitions.discard(lost, NOW, by="ann")) == (10, 0)
    found = transitions.accept(lost, NOW, ACCEPTED, next_poll_at=NOW)
    assert use(found) == (0, 10)


def test_a_stuck_run_keeps_what_it_reserved_and_is_settled_at_its_end() -> None:
    running = transitions.accept(sent(), NOW, ACCEPTED, next_poll_at=NOW)
    stuck = transitions.park_stuck(running, NOW, next_poll_at=NOW)
    assert use(stuck) == (0, 10)
    assert use(done(stuck, 9.0)) == (9, 0)


@pytest.mark.parametrize(
    "after",
    [
        transitions.return_to_queue(admitted(), NOW, why="not sent"),
        transitions.return_to_queue(sent(), NOW, why="not sent"),
        transitions.cancel(admitted(), NOW, by="ann"),
        transitions.cancel(sent(), NOW),
        transitions.retry(sent(), NOW, FAILED, due_at=NOW + 1),
    ],
    ids=["unsent", "sent", "cancelled", "never started", "refused"],
)
def test_what_cost_nothing_gives_everything_back(after: Job) -> None:
    assert use(after) == (0, 0)


def test_a_failed_run_spends_its_estimate_and_its_retry_reserves_anew() -> None:
    running = transitions.accept(sent(), NOW, ACCEPTED, next_poll_at=NOW)
    failed = transitions.retry(running, NOW, FAILED, due_at=NOW + 1)
    assert use(failed) == (10, 0)
    queued = transitions.promote(failed, NOW + 1)
    other_day = msgspec.structs.replace(RESERVED, period="2026-11-28")
    again = done(sent(admitted(queued, other_day)), 3.0)
    assert changed_use(None, again) == {
        UsedPart("b", 7, "2026-11-27", BudgetPart.SPENT): 10 * MICRO,
        UsedPart("b", 7, "2026-11-28", BudgetPart.SPENT): 3 * MICRO,
    }


STEPS: tuple[Callable[[Job], Job], ...] = (
    admitted,
    sent,
    lambda job: transitions.accept(job, NOW, ACCEPTED, next_poll_at=NOW),
    lambda job: transitions.retry(job, NOW, FAILED, due_at=NOW),
    lambda job: transitions.promote(job, NOW),
)
"""A job that fails and is tried again."""


def test_attempts_that_a_full_record_drops_stay_spent() -> None:
    sums = Counter[UsedPart]()
    job = before = a_job(max_attempts=10**6)
    for _ in range(ATTEMPTS_KEPT + 5):
        for step in STEPS:
            before, job = job, step(job)
            sums.update(changed_use(before, job))
    assert {part.part: amount for part, amount in sums.items() if amount} == {
        BudgetPart.SPENT: (ATTEMPTS_KEPT + 5) * 10 * MICRO
    }


STATUS = BudgetStatus(
    Budget(
        name="new",
        scope="default",
        period=BudgetPeriod.TOTAL,
        limit=100.0,
        generation=1,
        set_at=NOW,
        set_by="ann",
    ),
    Window("total", 0.0, 1e12),
    BudgetUse(),
)


@pytest.mark.parametrize(
    ("job", "reserves"),
    [
        (admitted(), 10),
        (sent(), 10),
        (transitions.park_uncertain(sent(), NOW, why="lost"), 10),
        (transitions.succeed(sent(), NOW - 1, Finished(b"{}", cost=4.0)), 0),
        (a_job(), 0),
        (
            transitions.discard(
                transitions.park_uncertain(sent(), NOW - 9, why=""), NOW - 5, by="ann"
            ),
            0,
        ),
    ],
    ids=["admitted", "sent", "uncertain", "done", "queued", "discarded"],
)
def test_a_new_budget_begins_with_what_is_in_flight(job: Job, reserves: float) -> None:
    after = transitions.reserve(job, STATUS)
    part = UsedPart("new", 1, "total", BudgetPart.RESERVED)
    assert changed_use(job, after) == ({part: reserves * MICRO} if reserves else {})
    assert transitions.reserve(after, STATUS) is after, "it is counted once"


def test_a_new_budget_counts_what_ended_since_it_was_set() -> None:
    """A worker counts it some seconds later, and short runs have ended by then."""
    later = transitions.succeed(sent(), NOW + 5, Finished(b"{}", cost=4.0))
    part = UsedPart("new", 1, "total", BudgetPart.SPENT)
    assert changed_use(later, transitions.reserve(later, STATUS)) == {part: 4 * MICRO}
    earlier = transitions.succeed(sent(), NOW - 5, Finished(b"{}", cost=4.0))
    assert transitions.reserve(earlier, STATUS) is earlier


def test_what_was_counted_for_a_new_budget_is_settled_there() -> None:
    after = done(transitions.reserve(sent(), STATUS), 6.0)
    assert changed_use(None, after)[UsedPart("new", 1, "total", BudgetPart.SPENT)] == 6 * MICRO
