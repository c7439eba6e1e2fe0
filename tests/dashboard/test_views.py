"""Views: charts, timelines, differences and texts."""

import doctest
import math
import types
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import transitions
from jobs.job import Job, Reason
from jobs.lanes import JobId
from jobs.outcomes import Accepted, Finished, ProviderError
from jobs.requests import JobRequest, new_job
from jobs.states import Kind, State
from worker.dashboard.views import charts, formatting, timeline
from worker.dashboard.views.charts import HEIGHT, WIDTH, ChartLine, draw
from worker.dashboard.views.diffs import diff
from worker.dashboard.views.formatting import parse_time
from worker.dashboard.views.timeline import state_intervals, timeline_bars, timeline_entries

VALUES = st.one_of(st.none(), st.floats(0, 1e9))


@pytest.mark.parametrize("module", [formatting, timeline, charts])
def test_the_examples_hold(module: types.ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


@given(st.lists(VALUES, min_size=1, max_size=50))
def test_a_line_stays_within_its_chart(values: list[float | None]) -> None:
    chart = draw("c", "t", "u", range(len(values)), [ChartLine("l", "s", tuple(values))])
    for point in chart.drawn_lines[0].path.replace("h.1", "").replace("M", "L").split("L")[1:]:
        x, y = map(float, point.split())
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert chart.drawn_lines[0].path.count("L") + chart.drawn_lines[0].path.count("M") == len(
        [value for value in values if value is not None]
    )


def test_a_chart_of_nothing_is_empty() -> None:
    assert draw("c", "t", "u", [1, 2], [ChartLine("l", "s", (0.0, None))]).is_empty
    assert not draw("c", "t", "u", [1, 2], [ChartLine("l", "s", (0.0, 2.0))]).is_empty


@given(st.floats(1e-6, 1e12))
def test_an_axis_ends_at_a_round_number_above_all(most: float) -> None:
    chart = draw("c", "t", "u", [1.0], [ChartLine("l", "s", (most,))])
    top = float(chart.y_ticks[-1].text)
    assert most * 0.99 <= top <= most * 10.01
    assert round(top / 10 ** math.floor(math.log10(top) + 1e-9), 6) in (1, 2, 5)


# The timeline of a job.


def a_job_with_history() -> Job:
    """Retried once, then dead, requeued by an operator, then succeeded."""
    request = JobRequest(kind=Kind.MODEL, target="gpt-image-2", inputs=b"{}")
    error = ProviderError("EXECUTION_FAILED", "no luck", http_status=500)
    job = new_job(request, JobId("j"), 100.0, max_attempts=2, deadline_s=60.0)
    for start in (110.0, 130.0):
        job = transitions.admit(
            job, start, submit_token="h", lease_until=start + 9, opening_hold_ids=()
        )
        job = transitions.send(job, start + 1, owner="w", lease_until=start + 9)
        job = transitions.accept(job, start + 2, Accepted("e", "r"), next_poll_at=start + 5)
        if start == 110.0:
            job = transitions.retry(job, 115.0, error, due_at=120.0)
            job = transitions.promote(job, 120.0)
    job = transitions.dead_letter(job, 140.0, error, Reason(code=error.display_code))
    job = transitions.requeue(job, 200.0, by="ann", note="again")
    job = transitions.admit(job, 210.0, submit_token="h", lease_until=219, opening_hold_ids=())
    job = transitions.send(job, 211.0, owner="w", lease_until=219)
    job = transitions.accept(job, 212.0, Accepted("e2", "r2"), next_poll_at=215)
    return transitions.succeed(job, 220.0, Finished(b"{}", cost=8.0), polls=3)


def test_a_timeline_has_every_state_with_its_duration() -> None:
    found = state_intervals(a_job_with_history(), 300.0)
    assert [(one.state, one.started_at, one.ended_at) for one in found] == [
        (State.QUEUED, 100.0, 110.0),
        (State.SUBMITTING, 110.0, 112.0),
        (State.RUNNING, 112.0, 115.0),
        (State.RETRYING, 115.0, 120.0),
        (State.QUEUED, 120.0, 130.0),
        (State.SUBMITTING, 130.0, 132.0),
        (State.RUNNING, 132.0, 140.0),
        (State.DEAD, 140.0, 200.0),
        (State.QUEUED, 200.0, 210.0),
        (State.SUBMITTING, 210.0, 212.0),
        (State.RUNNING, 212.0, 220.0),
        (State.SUCCEEDED, 220.0, 220.0),
    ]


def test_a_timeline_has_attempts_and_operator_actions_in_order() -> None:
    job = a_job_with_history()
    lines = timeline_entries(job, state_intervals(job, 300.0))
    assert [line.attempt.number for line in lines if line.attempt] == [1, 2, 3]
    (by_operator,) = [line for line in lines if line.is_by_operator]
    assert by_operator.event is not None
    assert (by_operator.event.by, by_operator.event.note, by_operator.label) == (
        "ann",
        "again",
        "Requeued",
    )
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_a_timeline_without_its_oldest_events_begins_with_the_first_one_left() -> None:
    job = a_job_with_history()
    cut = msgspec.structs.replace(job, events=job.events[-3:], events_dropped=9)
    assert state_intervals(cut, 300.0)[-1].state is State.SUCCEEDED
    bare = msgspec.structs.replace(job, events=(), events_dropped=99)
    assert [one.state for one in state_intervals(bare, 300.0)] == [State.SUCCEEDED]


def test_the_current_state_lasts_until_now() -> None:
    request = JobRequest(kind=Kind.MODEL, target="suno", inputs=b"{}", run_at=500.0)
    job = new_job(request, JobId("j"), 100.0, max_attempts=2, deadline_s=60.0)
    (current,) = state_intervals(job, 160.0)
    assert (current.state, current.ended_at, current.is_ongoing) == (State.SCHEDULED, 160.0, True)


def test_the_bars_of_a_timeline_fill_its_width() -> None:
    drawn = timeline_bars(state_intervals(a_job_with_history(), 300.0))
    assert drawn[0].x == 0
    assert drawn[-1].x + drawn[-1].width == pytest.approx(timeline.WIDTH, abs=1)
    assert min(bar.width for bar in drawn) >= timeline.MIN_BAR_WIDTH
    for one, after in pairwise(drawn):
        assert one.x + one.width == pytest.approx(after.x, abs=0.2)


# Texts.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", 1_000_000 - 1_800),
        ("2 h", 1_000_000 - 7_200),
        ("1.5d", 1_000_000 - 129_600),
        ("1970-01-02", 86_400),
        ("1970-01-02T01:00", 90_000),
        ("1970-01-02T01:00:00+01:00", 86_400),
    ],
)
def test_a_time_or_an_age_is_parsed(text: str, expected: float) -> None:
    assert parse_time(text, 1_000_000) == expected


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-2h", "2 weeks", "9999999-01-01", "9999-12-31T23:59:59-14:00", "2h; rm"],
)
def test_any_other_text_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        parse_time(text, 1_000_000)


def test_a_difference_has_removed_and_added_lines() -> None:
    lines = diff({"a": 1, "b": 2}, {"a": 1, "b": 3})
    assert [(line.sign, line.text.strip()) for line in lines if line.sign in "+-"] == [
        ("-", '"b": 2'),
        ("+", '"b": 3'),
    ]
    assert diff({"a": 1}, {"a": 1}) == ()


def test_a_difference_of_large_texts_is_bounded() -> None:
    before = {str(n): n for n in range(20_000)}
    after = {str(n): n + 1 for n in range(20_000)}
    lines = diff(before, {**after, "x": "y" * 100_000})
    assert len(lines) <= 401
    assert all(len(line.text) <= 301 for line in lines)
