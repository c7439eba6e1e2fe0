"""Whether a Redis server is safe for jobs, from its own reports.

The rules: one primary of 6.2 or newer, `noeviction`, an append-only file
that is synced before a write is acknowledged.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.doctor.findings import Finding, Level, fail, ok, warn
from worker.engine.eviction import EVICTION_FIX
from worker.store.command_check import ends_start
from worker.store.refusals import RedisRefusal, RefusalCode

MIN_VERSION: Final = (6, 2)
"""The oldest Redis the Lua scripts are written for."""

MEMORY_WARN: Final = 0.75
MEMORY_FAIL: Final = 0.90

LOADING: Final = "redis.loading"
ROLE: Final = "redis.role"
DISK: Final = "redis.disk"
COMMANDS: Final = "redis.commands"
CLUSTER: Final = "redis.cluster"
PERSISTENCE: Final = "redis.persistence"
EVICTION: Final = "redis.eviction"
MEMORY: Final = "redis.memory"

_FSYNC_FIX: Final = "CONFIG SET appendfsync always, and the same in redis.conf"
_AOF_FIX: Final = (
    "CONFIG SET appendonly yes and CONFIG SET appendfsync always, and the same in redis.conf"
)
_LOST_SUBMIT_RISK: Final = "a job whose paid submit is forgotten could be submitted and paid again"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The replies of INFO and CONFIG GET; None where the server does not report a value.

    Managed servers refuse CONFIG, and some omit fields of INFO.
    """

    version: tuple[int, ...] | None = None
    """Of Redis, or of the Redis that a Valkey is compatible with."""
    valkey_version: str = ""
    role: str | None = None
    loading: bool = False
    aof: bool | None = None
    fsync: str | None = None
    aof_write: str | None = None
    aof_rewrite: str | None = None
    snapshot: str | None = None
    eviction_policy: str | None = None
    used_bytes: int | None = None
    max_bytes: int | None = None
    """The limit in bytes; 0 where none is set."""
    machine_bytes: int | None = None
    """The memory of Redis' machine in bytes."""


def read_server(info: Mapping[str, Any], config: Mapping[str, Any] | None) -> ServerFacts:
    """The facts in the replies of INFO and CONFIG GET (None: refused)."""
    config = config or {}
    aof = info.get("aof_enabled", config.get("appendonly"))
    return ServerFacts(
        version=_version(info.get("redis_version")),
        valkey_version=str(info.get("valkey_version") or ""),
        role=_text_or_none(info.get("role")),
        loading=_int_or_none(info.get("loading")) == 1,
        aof=None if aof is None else str(aof) in ("1", "yes"),
        fsync=_text_or_none(config.get("appendfsync")),
        aof_write=_text_or_none(info.get("aof_last_write_status")),
        aof_rewrite=_text_or_none(info.get("aof_last_bgrewrite_status")),
        snapshot=_text_or_none(info.get("rdb_last_bgsave_status")),
        eviction_policy=_text_or_none(info.get("maxmemory_policy", config.get("maxmemory-policy"))),
        used_bytes=_int_or_none(info.get("used_memory")),
        max_bytes=_int_or_none(info.get("maxmemory", config.get("maxmemory"))),
        machine_bytes=_int_or_none(info.get("total_system_memory")),
    )


def judge_server(facts: ServerFacts) -> list[Finding]:
    """Every finding about the server, in the order to fix them."""
    return [
        _judge_version(facts),
        _judge_role(facts),
        _judge_loading(facts),
        judge_persistence(facts),
        _judge_disk_writes(facts),
        judge_eviction(facts),
        judge_memory(facts),
    ]


def judge_commands(
    problems: Sequence[RedisRefusal], judged: Collection[Finding] = ()
) -> list[Finding]:
    """The findings of the check of commands, without those that `judged` tells already."""
    told = {finding.name for finding in judged if finding.level is Level.FAIL}
    found = [
        fail(CLUSTER if ends_start(problem) else COMMANDS, problem.reason, problem.fix)
        for problem in problems
        if _TELLS.get(problem.code) not in told
    ]
    return found or ([] if problems else [ok(COMMANDS, "every command is allowed, and works")])


_TELLS: Final = {
    RefusalCode.READONLY: ROLE,
    RefusalCode.MASTERDOWN: ROLE,
    RefusalCode.LOADING: LOADING,
    RefusalCode.MISCONF: DISK,
    RefusalCode.OOM: MEMORY,
}
"""The finding that says of the server what an error says, too."""


def judge_safety(facts: ServerFacts) -> list[Finding]:
    """The findings that can cost jobs or money while everything seems to work; none that is ok."""
    found = (judge_persistence(facts), judge_eviction(facts), judge_memory(facts))
    return [finding for finding in found if finding.fix]


def _judge_version(facts: ServerFacts) -> Finding:
    name = "redis.version"
    if facts.version is None:
        fix = "check it; 6.2 or newer is needed"
        return warn(name, "the server does not report its version", fix)
    shown = ".".join(map(str, facts.version))
    if facts.version[:2] < MIN_VERSION:
        return fail(name, f"Redis {shown} is too old", "install Redis 6.2 or newer")
    return ok(name, f"Valkey {facts.valkey_version}" if facts.valkey_version else f"Redis {shown}")


def _judge_role(facts: ServerFacts) -> Finding:
    name = ROLE
    match facts.role:
        case "master":
            return ok(name, "it is a primary")
        case None:
            return warn(name, "the server does not report its role", "make sure it is a primary")
        case "slave":
            fix = "set KNOUDS_REDIS_URL to the primary, or use redis+sentinel://"
            return fail(name, "it is a replica: nothing can be written", fix)
        case other:
            fix = "set KNOUDS_REDIS_URL to a primary; for a Sentinel use redis+sentinel://"
            return fail(name, f"it is a {other}, not a primary", fix)


def _judge_loading(facts: ServerFacts) -> Finding:
    if facts.loading:
        return fail(
            LOADING, "it is still loading its data", "wait until it has, then run the doctor again"
        )
    return ok(LOADING, "its data is loaded")


def judge_persistence(facts: ServerFacts) -> Finding:
    """Whether an acknowledged write survives a crash of the server."""
    match facts.aof, facts.fsync:
        case False, _:
            text = (
                "appendonly is off: a restart loses what came after the snapshot; "
                f"{_LOST_SUBMIT_RISK}"
            )
            return warn(PERSISTENCE, text, _AOF_FIX)
        case None, _:
            text = f"persistence cannot be read; without an append-only file {_LOST_SUBMIT_RISK}"
            return warn(PERSISTENCE, text, "make sure of appendonly yes and appendfsync always")
        case True, "always":
            return ok(PERSISTENCE, "every write is on disk before it is acknowledged")
        case True, None:
            text = "appendonly is on; appendfsync cannot be read (CONFIG is refused): unless it is "
            text += f"`always`, a crash may lose the last second, and {_LOST_SUBMIT_RISK}"
            return warn(PERSISTENCE, text, "ask the operator for appendfsync always")
        case _, "everysec":
            text = f"appendfsync is everysec: a crash may lose the last second; {_LOST_SUBMIT_RISK}"
            return warn(PERSISTENCE, text, _FSYNC_FIX)
        case _, other:
            text = (
                f"appendfsync is {other}: a crash may lose the last half minute; "
                f"{_LOST_SUBMIT_RISK}"
            )
            return warn(PERSISTENCE, text, _FSYNC_FIX)


def _judge_disk_writes(facts: ServerFacts) -> Finding:
    """Whether the last writes to disk succeeded."""
    name, disk = DISK, "check for a full or broken disk, and read Redis' log"
    if facts.aof and facts.aof_write not in (None, "ok"):
        text = f"the last write to the append-only file failed ({facts.aof_write})"
        return fail(name, f"{text}: Redis refuses writes", disk)
    if facts.aof and facts.aof_rewrite not in (None, "ok"):
        text = f"the last rewrite of the append-only file failed ({facts.aof_rewrite})"
        return warn(name, f"{text}: it grows until the disk is full", disk)
    if facts.snapshot not in (None, "ok"):
        text = f"the last snapshot failed ({facts.snapshot})"
        return warn(name, f"{text}: Redis may refuse writes until one succeeds", disk)
    return ok(name, "the last writes to disk succeeded")


def judge_eviction(facts: ServerFacts) -> Finding:
    """Whether a full Redis may evict jobs."""
    match facts.eviction_policy:
        case "noeviction":
            return ok(EVICTION, "maxmemory-policy is noeviction")
        case None:
            text = "the eviction policy cannot be read; with any but noeviction, jobs could be lost"
            return warn(EVICTION, text, "make sure of maxmemory-policy noeviction")
        case other:
            text = f"maxmemory-policy is {other}: keys of live jobs could be lost"
            return fail(EVICTION, text, EVICTION_FIX)


def judge_memory(facts: ServerFacts) -> Finding:
    """Whether there is room for more jobs."""
    if facts.used_bytes is None:
        return warn(MEMORY, "memory in use cannot be read", "watch it: a full Redis accepts no job")
    limit = facts.max_bytes or facts.machine_bytes
    if not limit:
        return ok(MEMORY, f"{_format_bytes(facts.used_bytes)} used; no limit is known")
    share = facts.used_bytes / limit
    what = "maxmemory" if facts.max_bytes else "the machine's memory"
    text = f"{_format_bytes(facts.used_bytes)} used, {share:.0%} of {what} ({_format_bytes(limit)})"
    fix = "raise maxmemory, give the machine more memory, or lower KNOUDS_RETENTION_S"
    if share > MEMORY_FAIL:
        return fail(MEMORY, f"{text}: a full Redis accepts no job and no transition", fix)
    if share > MEMORY_WARN:
        return warn(MEMORY, text, fix)
    return ok(MEMORY, text)


def _format_bytes(size_bytes: int) -> str:
    """A size as text, as `1.5 GiB`."""
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004  the step of the units
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"  # noqa: PLR2004  no exponent


def _version(value: Any) -> tuple[int, ...] | None:
    found = re.match(r"\d+(\.\d+)*", str(value or ""))
    return tuple(int(part) for part in found[0].split(".")) if found else None


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _int_or_none(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
