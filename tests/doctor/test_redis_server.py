"""What is said of a Redis server, from what it says of itself."""

from dataclasses import replace
from typing import Any

import pytest

from worker.doctor.findings import Finding, Level, worst_level
from worker.doctor.redis_server import ServerFacts, judge_safety, judge_server, read_server

GIB = 2**30

SOUND = ServerFacts(
    version=(7, 2, 4),
    role="master",
    aof=True,
    fsync="always",
    aof_write="ok",
    aof_rewrite="ok",
    snapshot="ok",
    eviction_policy="noeviction",
    used_bytes=GIB,
    max_bytes=4 * GIB,
    machine_bytes=8 * GIB,
)


def findings_above_ok(facts: ServerFacts) -> list[Finding]:
    return [finding for finding in judge_server(facts) if finding.level is not Level.OK]


def test_a_sound_server_gives_no_cause_for_anything() -> None:
    assert findings_above_ok(SOUND) == []
    assert judge_safety(SOUND) == []
    assert worst_level(judge_server(SOUND)) is Level.OK


def test_a_valkey_is_named_by_its_own_version() -> None:
    info = {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}
    (version,) = [one for one in judge_server(read_server(info, {})) if one.name == "redis.version"]
    assert (version.level, version.text) == (Level.OK, "Valkey 9.1.2")


@pytest.mark.parametrize(
    ("facts", "name", "level", "word"),
    [
        ({"version": (6, 0, 16)}, "redis.version", "fail", "6.0.16 is too old"),
        ({"version": (5,)}, "redis.version", "fail", "too old"),
        ({"version": None}, "redis.version", "warn", "does not report"),
        ({"role": "slave"}, "redis.role", "fail", "replica"),
        ({"role": "sentinel"}, "redis.role", "fail", "sentinel"),
        ({"role": None}, "redis.role", "warn", "does not report"),
        ({"loading": True}, "redis.loading", "fail", "loading"),
        ({"aof": False}, "redis.persistence", "warn", "paid again"),
        ({"aof": False, "fsync": None}, "redis.persistence", "warn", "appendonly is off"),
        ({"aof": None, "fsync": None}, "redis.persistence", "warn", "cannot be read"),
        ({"fsync": None}, "redis.persistence", "warn", "CONFIG is refused"),
        ({"fsync": "everysec"}, "redis.persistence", "warn", "the last second"),
        ({"fsync": "no"}, "redis.persistence", "warn", "half minute"),
        ({"aof_write": "err"}, "redis.disk", "fail", "refuses writes"),
        ({"aof_rewrite": "err"}, "redis.disk", "warn", "rewrite"),
        ({"snapshot": "err"}, "redis.disk", "warn", "snapshot"),
        ({"eviction_policy": "allkeys-lru"}, "redis.eviction", "fail", "could be lost"),
        ({"eviction_policy": "volatile-ttl"}, "redis.eviction", "fail", "could be lost"),
        ({"eviction_policy": None}, "redis.eviction", "warn", "cannot be read"),
        ({"used_bytes": int(3.1 * GIB)}, "redis.memory", "warn", "maxmemory (4 GiB)"),
        ({"used_bytes": int(3.7 * GIB)}, "redis.memory", "fail", "accepts no job"),
        ({"max_bytes": 0, "used_bytes": 7 * GIB}, "redis.memory", "warn", "the machine's memory"),
        (
            {"max_bytes": None, "used_bytes": int(7.9 * GIB)},
            "redis.memory",
            "fail",
            "the machine's memory",
        ),
        ({"used_bytes": None}, "redis.memory", "warn", "cannot be read"),
    ],
)
def test_each_flaw_is_one_finding_with_a_remedy(
    facts: dict[str, Any], name: str, level: str, word: str
) -> None:
    (found,) = findings_above_ok(replace(SOUND, **facts))
    assert (found.name, found.level) == (name, level)
    assert word in found.text
    assert found.fix


@pytest.mark.parametrize(
    "facts",
    [
        {"used_bytes": 3 * GIB},  # 75 % is not above
        {"max_bytes": None, "machine_bytes": None},
        {"aof": True, "aof_write": None, "aof_rewrite": None, "snapshot": None},
        {"version": (6, 2)},
        {"version": (8, 0, 1)},
    ],
)
def test_what_is_no_flaw_is_not_reported(facts: dict[str, Any]) -> None:
    assert findings_above_ok(replace(SOUND, **facts)) == []


def test_a_start_warns_of_what_can_cost_jobs_and_of_nothing_else() -> None:
    facts = replace(
        SOUND, fsync="everysec", eviction_policy="allkeys-lru", used_bytes=4 * GIB, version=(6, 0)
    )
    names = [finding.name for finding in judge_safety(facts)]
    assert names == ["redis.persistence", "redis.eviction", "redis.memory"]


def test_a_managed_server_that_refuses_config_is_read_from_info() -> None:
    info = {"redis_version": "7.0.5", "role": "master", "aof_enabled": 1, "used_memory": 5}
    facts = read_server(info | {"maxmemory": 10, "maxmemory_policy": "noeviction"}, None)
    assert (facts.version, facts.aof, facts.fsync) == ((7, 0, 5), True, None)
    assert (facts.used_bytes, facts.max_bytes, facts.eviction_policy) == (5, 10, "noeviction")
    assert [finding.name for finding in findings_above_ok(facts)] == ["redis.persistence"]


def test_a_server_that_tells_nothing_crashes_nothing() -> None:
    assert read_server({}, None) == ServerFacts()
    odd = read_server({"redis_version": "x", "used_memory": "much", "loading": ""}, {})
    assert odd == ServerFacts()
    assert worst_level(judge_server(odd)) is Level.WARN


def test_config_tells_what_info_leaves_out() -> None:
    config = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    facts = read_server({}, config)
    assert (facts.aof, facts.fsync, facts.eviction_policy) == (True, "always", "noeviction")
