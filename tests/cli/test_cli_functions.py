"""The pure functions: times as text, next steps, what child processes get."""

from typing import Any

import pytest

from config.settings import Settings
from jobs.states import State
from worker.app.action_table import ACTION_TABLE, JobAction
from worker.cli.actions import bulk_summary
from worker.cli.commands import dead, jobs, parked
from worker.cli.next_steps import group_command, job_commands
from worker.cli.text import format_age, format_duration, parse_duration, parse_moment, sanitize
from worker.cli.up.plan import child_environ, demo_accounts, sandbox_accounts

Doc = dict[str, Any]


def hold(scope: str, code: str = "grant_exhausted") -> Doc:
    return {"id": f"hold-{scope}", "scope": scope, "code": code}


def group(target: str, code: str = "grant_exhausted", count: int = 2) -> Doc:
    lane = {"account": "default", "kind": "model", "target": target}
    return {"code": code, "count": count, **lane}


@pytest.mark.parametrize("scope", ["default", "default/model", "default/model/suno"])
def test_the_command_for_a_group_releases_its_hold(scope: str) -> None:
    command = group_command(group("suno"), "parked", hold(scope))
    assert command == f"knouds-worker holds release hold-{scope}"


def test_the_command_for_a_group_without_a_hold_has_its_code_and_lane() -> None:
    lane = "--account default --kind model --target suno"
    command = group_command(group("suno"), "parked")
    assert command == f"knouds-worker parked release --code grant_exhausted {lane}"


def test_jobs_that_wait_for_no_operator_have_no_command() -> None:
    assert job_commands({"id": "j", "state": "running", "reason": None}) == []


def test_nothing_is_proposed_for_what_a_newer_version_wrote() -> None:
    for state in ("dead", "parked"):
        job = {"id": "j", "state": state, "reason": {"code": "newer_schema"}}
        assert job_commands(job) == []
        assert group_command({**group("suno"), "newer": True}, state, hold("default")) is None


def test_a_command_is_quoted_for_a_shell() -> None:
    job = {"id": "j", "state": "parked", "reason": {"code": "x", "hold_id": "a; rm -rf ~"}}
    assert job_commands(job) == ["knouds-worker holds release 'a; rm -rf ~'"]


def test_times_read_as_ages() -> None:
    assert [format_duration(s) for s in (0.25, 42, 300, 7_200, 200_000)] == [
        "0.2s",
        "42s",
        "5m",
        "2h",
        "2d",
    ]
    assert format_age("2026-01-01T00:00:00.000Z", 1_767_225_600 + 30) == "30s ago"
    assert format_age("2026-01-01T00:00:00Z", 1_767_225_600 - 90) == "in 90s"
    assert [format_age(value, 0) for value in (None, "", "soon", b"x")] == [""] * 4


def test_durations_are_read_in_their_units() -> None:
    texts = ("90", "90s", "15m", "2h", "7d", "1.5h")
    assert [parse_duration(text) for text in texts] == [90, 90, 900, 7_200, 604_800, 5_400]
    for text in ("", "h", "-5", "5w", "1e3", "٣"):
        with pytest.raises(ValueError, match="15m"):
            parse_duration(text)


def test_moments_are_times_or_durations_ago() -> None:
    assert parse_moment("1h", 1_767_225_600) == "2025-12-31T23:00:00Z"
    assert parse_moment("2026-01-31T18:00:00+01:00", 0) == "2026-01-31T17:00:00Z"
    for far in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "99999999999d"):
        with pytest.raises(ValueError, match="of the years 1 to 9999 in UTC"):
            parse_moment(far, 1_767_225_600)


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\x00b", "\u202eabc", "bell\x07", "\x9b2J"])
def test_control_characters_are_removed(text: str) -> None:
    assert not set(sanitize(text)) & set("\x1b\x00\u202e\x07\x9b")


def child_environment(
    settings: Settings, environ: dict[str, str], **changes: Any
) -> dict[str, str]:
    known: Doc = {
        "redis_url": None,
        "sandbox_url": "http://s",
        "demo_count": 1,
        "is_demo": True,
        "port": 1,
    }
    return child_environ(settings, environ, **{**known, **changes})


def test_child_processes_get_the_addresses_of_all_services() -> None:
    found = child_environment(
        Settings(), {"PATH": "/bin", "knouds_http_port": "0"}, redis_url="redis://r"
    )
    assert found["PATH"] == "/bin"
    assert "knouds_http_port" not in found
    assert found["KNOUDS_HTTP_PORT"] == "1"
    assert (found["KNOUDS_REDIS_URL"], found["KNOUDS_BASE_URL"]) == ("redis://r", "http://s")


def test_a_demo_shortens_only_waits_that_are_not_set() -> None:
    assert child_environment(Settings(), {})["KNOUDS_POLL_MIN_S"] == "0.25"
    assert "KNOUDS_POLL_MIN_S" not in child_environment(Settings(poll_min_s=3), {})
    assert "KNOUDS_POLL_MIN_S" not in child_environment(Settings(), {}, is_demo=False)
    assert "KNOUDS_POLL_MIN_S" not in child_environment(Settings(), {}, sandbox_url=None)


def test_every_demo_has_accounts_of_its_own_and_earlier_ones_keep_theirs() -> None:
    assert demo_accounts(1) != demo_accounts(2)
    assert set(sandbox_accounts(2)) == {"demo", "studio", "demo-2", "studio-2"}


COMMANDS_OF_ACTIONS = {
    JobAction.RELEASE: (parked.release, State.PARKED),
    JobAction.ATTACH: (parked.resolve, State.PARKED),
    JobAction.RESUBMIT: (parked.resolve, State.PARKED),
    JobAction.REQUEUE: (dead.requeue, State.DEAD),
    JobAction.PARK: (jobs.park, State.QUEUED),
    JobAction.CANCEL: (jobs.cancel, State.QUEUED),
    JobAction.DISCARD: (dead.discard, State.DEAD),
}


@pytest.mark.parametrize("action", JobAction)
def test_every_action_of_the_table_has_a_command_for_a_state_it_is_allowed_in(
    action: JobAction,
) -> None:
    command, state = COMMANDS_OF_ACTIONS[action]
    assert state in ACTION_TABLE[action].states
    assert command.name in (str(action), "resolve")
    assert {option.name for option in command.params} >= {"note"}


@pytest.mark.parametrize("action", ["release", "requeue", "discard", "cancel"])
def test_a_bulk_summary_says_counts_holds_cost_and_why_jobs_were_skipped(action: str) -> None:
    counts: Doc = {
        "matched": 1_203,
        "done": 1_200,
        "skipped": 2,
        "failed": 1,
        "holds_released": 1,
        "est_cost": 12.0,
        "skipped_why": {"changed meanwhile": 2},
        "errors": [{"id": "j1", "detail": "there is no such job"}],
    }
    participle = ACTION_TABLE[JobAction(action)].past_tense.lower()
    head, *rest = bulk_summary(action, counts, is_preview=True).splitlines()
    assert head == (
        f"{action}: 1,203 jobs matched, 1,200 would be {participle}, through 1 hold, one canary"
        " first, 2 skipped, 1 failed, about 12 credits"
    )
    assert rest[:2] == ["skipped 2: changed meanwhile", "j1: there is no such job"]
    assert ("knouds-worker parked groups" in rest[-1]) == (action == "release")
