"""How often a run is polled whose end a webhook is to tell."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decide import decide_submit
from jobs.effects import Decision, Moment, Rules
from jobs.lanes import Lane
from jobs.outcomes import Accepted
from jobs.polling.schedules import PollSchedule, SafetyNet
from jobs.states import Kind
from tests.unit.core import make
from tests.unit.core.make import NOW
from worker.engine.webhook_policy import MISSES_MOST, Reliance

jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("max_s", "age_s", "pause"),
    [(30, 0, 120), (30, 120, 120), (30, 240, 240), (30, 3600, 3600), (0.5, 0, 30), (0.5, 45, 45)],
)
def test_the_first_look_is_late_and_each_doubles_the_runs_age(
    max_s: float, age_s: float, pause: float
) -> None:
    assert SafetyNet(0.1, max_s).after(age_s, 0.5) == pytest.approx(pause)


@settings(max_examples=50, database=None)
@given(jitters, st.integers(0, 9))
def test_in_trouble_the_steps_are_the_usual_ones(jitter: float, troubles: int) -> None:
    usual, net = PollSchedule(1.0, 30.0), SafetyNet(1.0, 30.0)
    assert net.after_trouble(troubles, jitter) == usual.after_trouble(troubles, jitter)


def test_a_run_of_an_hour_costs_few_looks() -> None:
    net, age, looks = SafetyNet(1.0, 30.0), 0.0, 0
    while age < 3600:
        age += net.after(age, 0.5)
        looks += 1
    assert looks == 6


def test_the_first_look_is_no_later_than_the_deadline() -> None:
    job = make.sent(deadline_s=5.0)
    moment = Moment(NOW, 0.5, Rules(schedule=SafetyNet(1.0, 30.0)))
    decision = decide_submit(job, Accepted("ex-1", webhook=True), moment)
    assert isinstance(decision, Decision)
    assert decision.job.next_poll_at == NOW + 5.0


def _sparse(reliance: Reliance, account: str = "a", *, webhook: bool = True) -> bool:
    rules = reliance.rules(Lane(account, Kind.MODEL, "suno"), webhook=webhook)
    return isinstance(rules.schedule, SafetyNet)


def test_polls_are_rare_only_where_a_webhook_comes_and_can_be_checked() -> None:
    assert _sparse(Reliance(Rules(), receives=True))
    assert not _sparse(Reliance(Rules(), receives=True), webhook=False)
    assert not _sparse(Reliance(Rules(), receives=False))


def test_an_account_whose_webhooks_fail_to_come_is_polled_as_usual_until_one_comes() -> None:
    reliance = Reliance(Rules(), receives=True)
    for _ in range(MISSES_MOST - 1):
        reliance.missed("a")
    assert _sparse(reliance)
    reliance.came("a")
    for _ in range(MISSES_MOST - 1):
        reliance.missed("a")
    assert _sparse(reliance), "only those in a row count"
    reliance.missed("a")
    assert not _sparse(reliance)
    assert _sparse(reliance, "b")
    reliance.came("a")
    assert _sparse(reliance)
