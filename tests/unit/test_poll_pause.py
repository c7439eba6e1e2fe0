"""The pause of a worker whose polls cannot connect: 1, 2, 4 … 30 s, then one try at a time."""

from jobs.outcomes import CallFailure, PollOutcome, StillRunning
from worker.engine.poll_pause import PollPause

UNSENT = CallFailure("cannot connect", is_unsent=True)
NOW = 1_790_000_000.0


def test_without_a_failure_every_free_slot_may_poll() -> None:
    assert PollPause().limit(50, 7, NOW) == 50


def test_polls_that_fail_together_begin_one_pause_and_every_failed_try_doubles_it() -> None:
    pause, now = PollPause(), NOW
    for _ in range(50):
        assert not pause.record(UNSENT, now)
    for length in (1, 2, 4, 8, 16, 30, 30):
        assert pause.left_s(now) == length
        assert pause.limit(50, 0, now + length - 0.01) == 0
        now += length
        assert pause.limit(50, 0, now) == 1, "one poll tries"
        assert pause.limit(50, 1, now) == 0, "and none beside it"
        assert pause.limit(0, 0, now) == 0
        pause.record(UNSENT, now)


def test_any_poll_that_was_sent_ends_the_pause() -> None:
    outcomes: list[PollOutcome] = [StillRunning("processing"), CallFailure("HTTP_500", 500)]
    outcomes.append(CallFailure("no answer within 15 s"))
    for outcome in outcomes:
        pause = PollPause()
        assert not pause.record(outcome, NOW)
        pause.record(UNSENT, NOW)
        assert pause.record(outcome, NOW)
        assert (pause.limit(50, 3, NOW), pause.left_s(NOW)) == (50, 0.0)
        pause.record(UNSENT, NOW)
        assert pause.left_s(NOW) == 1, "the next pause begins short"
