"""How often a run is polled if a webhook is to report its end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.decide import decide_submit
from jobs.effects import Decision, DecisionContext, DecisionRules
from jobs.lanes import Lane
from jobs.outcomes import Accepted
from jobs.polling.schedules import PollSchedule, SafetyNetSchedule
from jobs.states import Kind
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW
from worker.engine.webhook_policy import MAX_MISSES, WebhookPolicy

jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("max_s", "age_s", "pause"),
    [(30, 0, 120), (30, 120, 120), (30, 240, 240), (30, 3600, 3600), (0.5, 0, 30), (0.5, 45, 45)],
)
def test_the_first_poll_is_late_and_each_doubles_the_runs_age(
    max_s: float, age_s: float, pause: float
) -> None:
    assert SafetyNetSchedule(0.1, max_s).next_delay_s(age_s, 0.5) == pytest.approx(pause)


@settings(max_examples=50, database=None)
@given(jitters, st.integers(0, 9))
def test_after_failed_polls_the_steps_are_the_usual_ones(jitter: float, failures: int) -> None:
    usual, net = PollSchedule(1.0, 30.0), SafetyNetSchedule(1.0, 30.0)
    assert net.failure_delay_s(failures, jitter) == usual.failure_delay_s(failures, jitter)


def test_a_run_of_an_hour_costs_few_polls() -> None:
    net, age, polls = SafetyNetSchedule(1.0, 30.0), 0.0, 0
    while age < 3600:
        age += net.next_delay_s(age, 0.5)
        polls += 1
    assert polls == 6


def test_the_first_poll_is_no_later_than_the_deadline() -> None:
    job = job_builders.submitted(deadline_s=5.0)
    moment = DecisionContext(NOW, 0.5, DecisionRules(poll_schedule=SafetyNetSchedule(1.0, 30.0)))
    decision = decide_submit(job, Accepted("ex-1", expects_webhook=True), moment)
    assert isinstance(decision, Decision)
    assert decision.job.next_poll_at == NOW + 5.0


def _polls_sparsely(policy: WebhookPolicy, account: str = "a", *, webhook: bool = True) -> bool:
    rules = policy.rules(Lane(account, Kind.MODEL, "suno"), has_webhook=webhook)
    return isinstance(rules.poll_schedule, SafetyNetSchedule)


def test_polls_are_rare_only_where_a_webhook_comes_and_can_be_checked() -> None:
    assert _polls_sparsely(WebhookPolicy(DecisionRules(), receives_webhooks=True))
    assert not _polls_sparsely(
        WebhookPolicy(DecisionRules(), receives_webhooks=True), webhook=False
    )
    assert not _polls_sparsely(WebhookPolicy(DecisionRules(), receives_webhooks=False))


def test_an_account_whose_webhooks_fail_to_come_is_polled_as_usual_until_one_comes() -> None:
    policy = WebhookPolicy(DecisionRules(), receives_webhooks=True)
    for _ in range(MAX_MISSES - 1):
        policy.record_miss("a")
    assert _polls_sparsely(policy)
    policy.record_delivery("a")
    for _ in range(MAX_MISSES - 1):
        policy.record_miss("a")
    assert _polls_sparsely(policy), "only those in a row count"
    policy.record_miss("a")
    assert not _polls_sparsely(policy)
    assert _polls_sparsely(policy, "b")
    policy.record_delivery("a")
    assert _polls_sparsely(policy)
