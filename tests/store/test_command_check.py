"""What the check of Redis' commands says of a server that refuses some of them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from arq import ArqRedis
from pydantic import SecretStr

from config.settings import Settings
from tests.chaos.killable_redis import KillableRedis, free_port
from worker.redis.connect import connect
from worker.store.client import Client
from worker.store.command_check import acl_rules, check_commands, ends_start
from worker.store.keys import Keys
from worker.store.refusals import RedisRefusal

MAX_PORT = 55_000
"""A cluster takes the port 10,000 above its own, too."""


async def check(redis: ArqRedis, namespace: str) -> list[RedisRefusal]:
    return await check_commands(Client(redis), Keys(namespace))


@asynccontextmanager
async def as_user(redis: ArqRedis, url: str, *rules: str) -> AsyncGenerator[ArqRedis]:
    """A client of a user with these rules."""
    await Client(redis).call("ACL SETUSER", "limited", "reset", "on", ">secret", *rules)
    limited = connect(
        Settings(redis_url=SecretStr(url.replace("redis://", "redis://limited:secret@")))
    )
    try:
        yield limited
    finally:
        await limited.aclose(close_connection_pool=True)
        await Client(redis).call("ACL DELUSER", "limited")


async def test_a_sound_server_has_no_problem_and_keeps_no_key(
    redis: ArqRedis, namespace: str
) -> None:
    assert await check(redis, namespace) == []
    assert await Client(redis).call("DBSIZE") == 0


async def test_the_documented_rights_suffice(
    redis: ArqRedis, redis_url: str, namespace: str
) -> None:
    rules = acl_rules(namespace, with_optional=False).split()
    async with as_user(redis, redis_url, *rules) as limited:
        assert await check(limited, namespace) == []


@pytest.mark.parametrize(
    ("lacks", "named"),
    [
        ("-info", ("INFO", "+info")),
        ("-script", ("SCRIPT LOAD", "+script|load")),
        ("-evalsha", ("EVALSHA", "+evalsha")),
        ("-time", ("TIME", "+time")),
        ("-publish", ("PUBLISH", "+publish")),
        ("-subscribe", ("SUBSCRIBE", "+subscribe")),
        ("-pubsub", ("PUBSUB NUMSUB", "+pubsub|numsub")),
        ("-xadd", ("XADD", "+xadd")),
        ("-multi", ("MULTI", "+multi")),
        ("-watch", ("WATCH", "+watch")),
        ("resetchannels", ("the channels {namespace}:*", "&{namespace}:*")),
    ],
)
async def test_a_missing_right_is_named_with_the_rule_that_gives_it(
    redis: ArqRedis, redis_url: str, namespace: str, lacks: str, named: tuple[str, str]
) -> None:
    async with as_user(redis, redis_url, "~*", "&*", "+@all", lacks) as limited:
        (problem,) = await check(limited, namespace)
    words, rule = (text.format(namespace=namespace) for text in named)
    assert problem.reason == f"Redis refuses its user limited {words} (NOPERM)"
    assert problem.fix.startswith(f"ACL SETUSER limited {rule}, ")
    assert not ends_start(problem)


@pytest.mark.parametrize(("given", "missing"), [("~{n}:*", "~arq:*"), ("~arq:*", "~{n}:*")])
async def test_missing_keys_are_one_rule(
    redis: ArqRedis, redis_url: str, namespace: str, given: str, missing: str
) -> None:
    async with as_user(redis, redis_url, "+@all", "&*", given.format(n=namespace)) as limited:
        (problem,) = await check(limited, namespace)
    assert problem.fix.startswith(f"ACL SETUSER limited {missing.format(n=namespace)}, ")


async def test_several_missing_rights_are_one_line(
    redis: ArqRedis, redis_url: str, namespace: str
) -> None:
    async with as_user(redis, redis_url, "~*", "&*", "+@all", "-time", "-info") as limited:
        (problem,) = await check(limited, namespace)
    assert "TIME, INFO" in problem.reason
    assert "+time +info" in problem.fix


@pytest.mark.parametrize(
    ("arguments", "code", "is_for_good"),
    [
        (("--replicaof", "127.0.0.1", "1"), "READONLY", False),
        (("--min-replicas-to-write", "1"), "NOREPLICAS", False),
        (("--maxmemory", "1", "--maxmemory-policy", "noeviction"), "OOM", False),
        (("--cluster-enabled", "yes", "--appendonly", "no"), "CROSSSLOT", True),
        (("--rename-command", "ZINTER", ""), "NOPERM", False),
    ],
)
async def test_a_server_that_takes_no_writes_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: str, *, is_for_good: bool
) -> None:
    server = KillableRedis(tmp_path / "redis")
    while server.port > MAX_PORT:
        server.port = free_port()
    await server.start(*arguments)
    client = connect(Settings(), server.url)
    try:
        (problem,) = await check(client, "n")
    finally:
        await client.aclose(close_connection_pool=True)
        await server.kill()
    assert (problem.code, ends_start(problem)) == (code, is_for_good)
    assert problem.fix
