"""What is said of clocks, namespaces, keys, workers and settings."""

from typing import Any

import pytest
from pydantic import SecretStr
from redis.exceptions import OutOfMemoryError, ResponseError

from config.settings import Settings
from jobs.outcomes import CallFailure
from worker.doctor.access import judge_account
from worker.doctor.environment import (
    NamespaceFacts,
    judge_accounts,
    judge_clock,
    judge_namespace,
    judge_settings,
    judge_workers,
)
from worker.doctor.findings import Finding, Level
from worker.doctor.probes import refused_finding
from worker.provider.port import Identity
from worker.store.workers import Heartbeat

NOW = 1_790_000_000.0


def findings_above_ok(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(f.name, f.level.value) for f in findings if f.level is not Level.OK]


@pytest.mark.parametrize(
    ("skew_s", "doubt_s", "level", "side"),
    [
        (0.0, 0.0, "ok", "agree"),
        (0.9, 0.0, "ok", "agree"),
        (1.1, 0.0, "warn", "ahead of"),
        (-1.1, 0.0, "warn", "behind"),
        (30.1, 0.0, "fail", "ahead of"),
        (-31.0, 0.0, "fail", "behind"),
        (1.1, 0.2, "ok", "agree"),  # a slow answer proves less
        (30.1, 0.2, "warn", "ahead of"),
    ],
)
def test_a_clock_is_checked_by_what_is_certain(
    skew_s: float, doubt_s: float, level: str, side: str
) -> None:
    found = judge_clock(skew_s, doubt_s)
    assert found.level == level
    assert side in found.text


def test_a_namespace_that_is_well_says_who_else_is_there() -> None:
    facts = NamespaceFacts("knouds", {}, "knouds:queue", 3, ["staging"])
    found = judge_namespace(facts)
    assert findings_above_ok(found) == []
    assert "staging" in found[0].text
    assert "3 in it" in found[1].text


def test_a_key_of_another_type_fails() -> None:
    wrong = {"knouds:queue": ("list", "zset")}
    (found,) = judge_namespace(NamespaceFacts("knouds", wrong, "knouds:queue", None, []))
    assert found.level is Level.FAIL
    assert "knouds:queue is a list" in found.text


@pytest.mark.parametrize(
    ("answer", "level", "word"),
    [
        (Identity("u1", tier="business"), "ok", "tier business"),
        (Identity(), "ok", "valid"),
        (CallFailure("UNAUTHORIZED", 401), "fail", "refused"),
        (CallFailure("API_KEY_ACCESS_DENIED", 403), "fail", "may not use"),
        (CallFailure("HTTP_500", 500), "warn", "could not check"),
        (CallFailure("timed out"), "warn", "timed out"),
    ],
)
def test_a_key_is_checked_by_whoami(answer: Identity | CallFailure, level: str, word: str) -> None:
    found = judge_account("studio", answer)
    assert (found.name, found.level) == ("provider.studio", level)
    assert word in found.text
    assert bool(found.fix) == (level != "ok")


def test_a_refused_default_key_names_its_setting() -> None:
    trouble = CallFailure("no", 401)
    assert "KNOUDS_API_KEY," in judge_account("default", trouble).fix
    assert "KNOUDS_API_KEYS (studio)" in judge_account("studio", trouble).fix


def test_accounts_need_keys() -> None:
    assert findings_above_ok(judge_accounts([], [])) == [("provider.key", "warn")]
    assert judge_accounts(["default", "studio"], ["default"]) == []
    (found,) = judge_accounts(["default"], ["default", "studio"])
    assert found.level is Level.WARN
    assert "studio" in found.text


def beat(name: str, age_s: float = 0.0, **facts: Any) -> Heartbeat:
    started = NOW - 100
    return Heartbeat(id=name, host="h", pid=7, started_at=started, seen_at=NOW - age_s, **facts)


@pytest.mark.parametrize(
    ("beats", "waiting", "expected"),
    [
        ([beat("a"), beat("b", 14)], 5, []),
        ([], 0, ["workers.alive"]),
        ([], 5, ["workers.alive"]),
        ([beat("a", stopping=True)], 0, ["workers.alive"]),
        ([beat("a"), beat("b", 16)], 0, ["workers.silent"]),
        ([beat("a"), beat("b", 16, stopping=True)], 0, []),
        ([beat("a", 16)], 0, ["workers.alive", "workers.silent"]),
        ([beat("a", failures={"poller": "ValueError"})], 0, ["workers.failing"]),
        ([beat("a"), beat("b", clock_ahead_s=-5.0)], 0, ["workers.clock"]),
        ([beat("a", clock_ahead_s=0.9)], 0, []),
        ([beat("a"), beat("b", 16, failures={"poller": "X"})], 0, ["workers.silent"]),
    ],
)
def test_workers_are_checked_by_their_heartbeats(
    beats: list[Heartbeat], waiting: int, expected: list[str]
) -> None:
    found = judge_workers(beats, NOW, 10.0, waiting)
    assert findings_above_ok(found) == [(name, "warn") for name in expected]


def test_jobs_without_a_worker_are_counted() -> None:
    (found,) = judge_workers([], NOW, 10.0, 5)
    assert "5 jobs cannot continue" in found.text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"lease_s": 5}, ["settings.lease"]),
        ({"lease_s": 61}, ["settings.lease"]),
        ({"run_deadline_s": 20}, ["settings.deadline"]),
        ({"retention_s": 60}, ["settings.retention"]),
    ],
)
def test_settings_that_do_harm_together_are_reported(
    settings: dict[str, Any], expected: list[str]
) -> None:
    found = judge_settings(Settings(api_key=SecretStr("k"), **settings))
    assert findings_above_ok(found) == [(name, "warn") for name in expected]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (beat("b", clock_ahead_s=3600.0), "b: its clock is 3600 s ahead of that of Redis"),
        (beat("b", clock_ahead_s=-31.0), "b: its clock is 31 s behind that of Redis"),
        (beat("b", -3600), "the heartbeat of b is 3600 s in the future"),  # of an older version
    ],
)
def test_a_clock_that_is_off_is_found_from_any_machine(wrong: Heartbeat, words: str) -> None:
    found = judge_workers([beat("a"), wrong], NOW, 10.0, 0)
    (off,) = (finding for finding in found if finding.level is not Level.OK)
    assert (off.name, off.level) == ("workers.clock", "fail")
    assert words in off.text
    assert "NTP" in off.fix


@pytest.mark.parametrize("facts", [{}, {"clocks_differ": True}])
def test_a_worker_that_lives_by_the_old_time_of_redis_is_alive(facts: dict[str, Any]) -> None:
    found = judge_workers([beat("a", 3601, clock_ahead_s=-3600.0)], NOW, 10.0, 5, **facts)
    assert [one.name for one in found] == ["workers.alive", "workers.clock"]
    assert "clock of every live worker is wrong" in found[0].text


@pytest.mark.parametrize(
    ("quiet", "facts"),
    [(beat("a", 3601), {"clocks_differ": True}), (beat("a", 9000, clock_ahead_s=-3600.0), {})],
)
def test_where_clocks_differ_nobody_is_said_to_be_dead(
    quiet: Heartbeat, facts: dict[str, Any]
) -> None:
    found = judge_workers([quiet], NOW, 10.0, 5, **facts)
    said = " ".join(one.text + one.fix for one in found)
    assert "clocks differ" in said
    for claim in ("rescued", "start one", "no live worker", "stopped its heartbeat"):
        assert claim not in said


def test_a_refusal_of_redis_reads_as_everywhere_else() -> None:
    error = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    found = refused_finding(error, "workers.unreadable", "the workers cannot be read")
    assert found.text == ("the workers cannot be read: Redis has used all of its maxmemory (OOM)")
    assert found.fix.startswith("raise maxmemory")
    wrong_type = refused_finding(ResponseError("WRONGTYPE Operation against a key"))
    assert wrong_type.text.startswith("not everything was checked: WRONGTYPE")
