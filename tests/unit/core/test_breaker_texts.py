"""What breakers say to operators, and to who asks why a job waits."""

import msgspec
import pytest

from jobs.breakers import Breaker, BreakerCause, BreakerError, BreakerState, new_breaker
from jobs.breakers.texts import (
    ACTION_TEXTS,
    CAUSE_TEXTS,
    breaker_text,
    error_text,
    limits_submits,
    state_text,
)
from jobs.holds import Gates
from jobs.lanes import Scope
from jobs.why import WhyContext, why_not_running
from tests.unit.core import job_builders
from tests.unit.core.job_builders import NOW

UNKNOWN, TARGET, UNREACHABLE = BreakerCause
REFUSED = BreakerError("unreachable", message="knouds.ai:443 refused (KNOUDS_BASE_URL)")


def opened(cause: BreakerCause, scope: str = "default", **changes: object) -> Breaker:
    facts = {"state": BreakerState.OPEN, "opened_at": NOW - 60, "next_probe_at": NOW + 12}
    return msgspec.structs.replace(new_breaker(Scope(scope), cause), **{**facts, **changes})


def test_every_cause_has_its_words_and_says_what_an_operator_can_do() -> None:
    assert set(CAUSE_TEXTS) == set(ACTION_TEXTS) == set(BreakerCause)


def test_an_unreachable_provider_is_named_with_its_cause_host_and_setting() -> None:
    breaker = opened(UNREACHABLE, error=REFUSED)
    assert breaker_text(breaker, NOW) == (
        "default: the provider cannot be reached – knouds.ai:443 refused (KNOUDS_BASE_URL);"
        " nothing is sent; next probe in 12 s"
    )


@pytest.mark.parametrize(
    ("cause", "error", "text"),
    [
        (TARGET, BreakerError("EXECUTION_FAILED", 500), "EXECUTION_FAILED (HTTP 500)"),
        (TARGET, BreakerError("HTTP_503", 503), "HTTP_503"),
        (TARGET, BreakerError("X", 500, "too busy"), "X (HTTP 500): too busy"),
        (UNKNOWN, BreakerError("uncertain", 502, "HTTP 502: Bad Gateway"), "HTTP 502: Bad Gateway"),
        (UNKNOWN, BreakerError("uncertain", 502), "uncertain (HTTP 502)"),
        (UNKNOWN, None, ""),
    ],
)
def test_the_last_error_is_shown_once(
    cause: BreakerCause, error: BreakerError | None, text: str
) -> None:
    assert error_text(opened(cause, error=error)) == text


def test_a_state_says_what_passes_and_when_it_is_probed() -> None:
    breaker = opened(TARGET)
    assert state_text(breaker, NOW) == "nothing is sent; next probe in 12 s"
    assert state_text(breaker, NOW + 11.5) == "nothing is sent; next probe due now"
    assert state_text(breaker, NOW + 99) == "nothing is sent; next probe due now"
    probed = msgspec.structs.replace(breaker, prober_until=NOW + 60)
    assert state_text(probed, NOW) == "nothing is sent; a probe is under way"
    own = msgspec.structs.replace(breaker, is_shared=False, workers=("w1",))
    assert state_text(own, NOW) == "1 worker of several send nothing; next probe in 12 s"
    probing = msgspec.structs.replace(breaker, state=BreakerState.PROBING, step=4)
    assert state_text(probing, NOW) == "probing, 4 submits at a time"
    assert state_text(new_breaker(Scope("default"), TARGET), NOW) == "closed"


def test_a_first_unknown_outcome_slows_down_and_is_shown() -> None:
    closed = new_breaker(Scope("default/model/suno"), UNKNOWN)
    suspect = msgspec.structs.replace(closed, failures_in_row=1, failures=1, failed_at=NOW)
    assert not limits_submits(closed, NOW)
    assert limits_submits(suspect, NOW)
    assert state_text(suspect, NOW) == "slowed down to one submit at a time"


def test_why_names_the_breaker_that_a_queued_job_waits_for() -> None:
    mine = opened(UNKNOWN, "default/model", error=BreakerError("uncertain", 502, "HTTP 502"))
    other = opened(TARGET, "default/workflow/shots")
    context = WhyContext(Gates(breakers=(other, mine)), workers=1)
    (blocker,) = why_not_running(job_builders.a_job(), context, NOW)
    assert (blocker.kind, blocker.breaker, blocker.until) == ("breaker", mine, NOW + 12)
    assert "HTTP 502" in blocker.text
    assert blocker.action == ACTION_TEXTS[UNKNOWN]
    assert not why_not_running(job_builders.running(), context, NOW)


def test_why_says_of_a_run_that_polls_get_no_answer() -> None:
    context = WhyContext(Gates(), workers=1, poll_failure="knouds.ai: no such host")
    (blocker,) = why_not_running(job_builders.running(), context, NOW)
    assert (blocker.kind, blocker.text) == ("polls", "polls get no answer: knouds.ai: no such host")
    assert not why_not_running(job_builders.sync_run(), context, NOW)
