"""Whether Redis does what this program asks of it: each of its commands is tried.

They run as the program's own user, on keys that they remove again, in one round trip. So what
the server refuses is known, whatever it says of itself: rights that the user lacks, a replica, a
full disk or memory, a cluster.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from arq.constants import in_progress_key_prefix
from redis.exceptions import RedisError, ResponseError

from worker.store.client import Client, Command
from worker.store.keys import Keys
from worker.store.refusals import RedisRefusal, RefusalCode, redis_refusal
from worker.store.scripts import script_digest, source

KEPT_MS: Final = 10_000
"""How long a string of the check lasts, should its removal be refused."""

_SET_THE_FIRST_KEY: Final = (0, "", "", "", 0, 4, "S", 1, "1", KEPT_MS)
"""The arguments of `commit.lua` for one change that belongs to no job."""

ALSO_NEEDED: Final = ("UNSUBSCRIBE",)
"""What is not tried."""

OPTIONAL: Final = ("CONFIG GET", "PUBSUB CHANNELS")
"""Commands that only `knouds-worker doctor` sends, to say more."""


def ends_start(refusal: RedisRefusal) -> bool:
    """Whether this Redis can never be used: a worker or an API does not start."""
    return refusal.code in _CLUSTER_CODES or refusal.code is RefusalCode.SENTINEL


_CLUSTER_CODES: Final = (RefusalCode.CROSSSLOT, RefusalCode.MOVED)


@dataclass(frozen=True, slots=True)
class _TriedCommand:
    command: Command
    keys: str = ""
    """The pattern of the keys that it is tried on."""

    @property
    def name(self) -> str:
        """The command, with its subcommand."""
        return str(self.command[0]).upper()


def acl_rules(namespace: str, *, with_optional: bool = True) -> str:
    """The rules of an ACL user who may do what this program does, and no more."""
    tried = dict.fromkeys(one.name for one in _commands(Keys(namespace)))
    names = [*tried, "SUBSCRIBE", *ALSO_NEEDED, *(OPTIONAL if with_optional else ())]
    rights = " ".join(_right(name) for name in names)
    return f"resetchannels {_keys_rule(namespace)} ~arq:* {_channel_rule(namespace)} {rights}"


def _right(command: str) -> str:
    """The ACL rule for a command."""
    return f"+{command.lower().replace(' ', '|')}"


def _keys_rule(namespace: str) -> str:
    return f"~{namespace}:*"


def _channel_rule(namespace: str) -> str:
    return f"&{namespace}:*"


def _commands(keys: Keys) -> Iterator[_TriedCommand]:
    """Every command of this program and of arq, in an order in which each works."""
    entry = f"{in_progress_key_prefix}{keys.namespace}-check"
    yield _TriedCommand(("PSETEX", entry, KEPT_MS, "1"), "~arq:*")
    yield _TriedCommand(("DEL", entry), "~arq:*")
    names = ("text", "counter", "hash", "list", "sorted", "stream")
    text, counter, table, row, ranked, stream = (keys.command_check(name) for name in names)
    for command in (
        *_on_strings(text, counter),
        *_on_collections(table, row, ranked, stream),
        *_on_scripts(keys, text, table),
        ("DEL", text, counter, table, row, ranked, stream),
        *_on_the_server(text),
    ):
        yield _TriedCommand(command, _keys_rule(keys.namespace))


def _on_strings(text: str, counter: str) -> tuple[Command, ...]:
    return (
        ("SET", text, "1", "PX", KEPT_MS),
        ("PSETEX", text, KEPT_MS, "1"),
        ("SETEX", text, KEPT_MS // 1000, "1"),
        ("GET", text),
        ("EXISTS", text),
        ("TYPE", text),
        ("EXPIRE", text, KEPT_MS // 1000),
        ("PEXPIRE", text, KEPT_MS),
        ("TTL", text),
        ("INCRBY", counter, 1),
    )


def _on_collections(table: str, row: str, ranked: str, stream: str) -> tuple[Command, ...]:
    return (
        ("HSET", table, "a", "1"),
        ("HSETNX", table, "a", "1"),
        ("HINCRBY", table, "m", 1),
        ("HINCRBYFLOAT", table, "n", "1"),
        ("HGET", table, "a"),
        ("HMGET", table, "a"),
        ("HGETALL", table),
        ("HLEN", table),
        ("HVALS", table),
        ("HKEYS", table),
        ("HEXISTS", table, "a"),
        ("HSTRLEN", table, "a"),
        ("HDEL", table, "a"),
        ("LPUSH", row, "a"),
        ("LTRIM", row, 0, 0),
        ("LRANGE", row, 0, 0),
        ("ZADD", ranked, 1, "a"),
        ("ZCARD", ranked),
        ("ZCOUNT", ranked, 0, 1),
        ("ZSCORE", ranked, "a"),
        ("ZMSCORE", ranked, "a"),
        ("ZRANK", ranked, "a"),
        ("ZRANGE", ranked, 0, 0),
        ("ZREVRANGE", ranked, 0, 0),
        ("ZRANGEBYSCORE", ranked, 0, 1),
        ("ZREVRANGEBYSCORE", ranked, 1, 0),
        ("ZRANDMEMBER", ranked),
        ("ZSCAN", ranked, 0),
        ("ZINTER", 1, ranked),
        ("ZINCRBY", ranked, 1, "a"),
        ("ZREM", ranked, "a"),
        ("ZREMRANGEBYSCORE", ranked, 0, 1),
        ("XADD", stream, "MAXLEN", "~", 1, "*", "a", "1"),
        ("XRANGE", stream, "-", "+", "COUNT", 1),
        ("XREVRANGE", stream, "+", "-", "COUNT", 1),
        ("XREAD", "COUNT", 1, "STREAMS", stream, "$"),
    )


def _on_scripts(keys: Keys, text: str, table: str) -> tuple[Command, ...]:
    return (
        ("PUBLISH", keys.command_check("channel"), ""),
        ("SCRIPT LOAD", source("commit")),
        # Two keys, as every script has: a cluster refuses them.
        ("EVALSHA", script_digest("commit"), 2, text, table, *_SET_THE_FIRST_KEY),
    )


def _on_the_server(text: str) -> tuple[Command, ...]:
    return (
        ("watch", text),  # in capitals, redis-py would send it alone
        ("MULTI",),
        ("EXEC",),
        ("UNWATCH",),
        ("SCAN", 0, "COUNT", 1),
        ("DBSIZE",),
        ("WAIT", 0, 1),
        ("TIME",),
        ("PING",),
        ("PUBSUB NUMSUB", text),
        ("INFO", "cluster"),
    )


async def check_commands(client: Client, keys: Keys) -> list[RedisRefusal]:
    """Try every command; returns what is wrong, in the order to mend it, or nothing.

    Raises `redis.exceptions.RedisError` and OSError where Redis does not answer.
    """
    tried = list(_commands(keys))
    channel = keys.command_check("channel")
    try:
        replies = await client.try_many([one.command for one in tried])
        replies.append(await _try_subscribe(client, channel))
        tried.append(_TriedCommand(("SUBSCRIBE", channel)))
    except RedisError as unsent:
        refusal = redis_refusal(unsent)
        if refusal is None or refusal.code is not RefusalCode.READONLY:
            raise
        return [refusal]  # the connection found out
    return _judge(client, keys, tried, replies)


async def _try_subscribe(client: Client, channel: str) -> RedisError | None:
    """The refusal of a subscription, which needs a connection of its own."""
    try:
        async with client.subscribe(channel):
            return None
    except ResponseError as error:
        return error


def _judge(
    client: Client, keys: Keys, tried: Sequence[_TriedCommand], replies: Sequence[object]
) -> list[RedisRefusal]:
    """What is wrong, from the replies to the commands."""
    found: dict[RefusalCode, RedisRefusal] = {}
    rules: dict[str, None] = {}
    unknown: dict[str, None] = {}
    for one, reply in zip(tried, replies, strict=True):
        error = _CLUSTER if one.name == "INFO" and _is_cluster(reply) else reply
        if not isinstance(error, RedisError):
            continue
        refusal = redis_refusal(error)
        if refusal is None:
            unknown[one.name] = None
        elif refusal.code is not RefusalCode.NOPERM:
            found[refusal.code] = refusal
        elif one.name != "EVALSHA" or "can't run" not in str(error):  # those were tried alone
            rules[_missing_rule(one, error, keys.namespace)] = None
    for code in _CLUSTER_CODES:
        if code in found:
            return [found[code]]
    if rules:
        found[RefusalCode.NOPERM] = _lacks_rights(list(rules), _user_of(client))
    elif unknown and not found:
        found[RefusalCode.NOPERM] = _lacks_commands(list(unknown))
    return list(found.values())


_CLUSTER: Final = ResponseError("CROSSSLOT cluster-enabled is yes")


def _is_cluster(reply: object) -> bool:
    """Whether the reply to INFO says that it is a cluster, be it one with a single node."""
    return isinstance(reply, Mapping) and str(cast("Any", reply).get("cluster_enabled")) == "1"


def _missing_rule(one: _TriedCommand, error: RedisError, namespace: str) -> str:
    """The ACL rule without which Redis refused a command."""
    text = str(error)
    if "channel" in text:
        return _channel_rule(namespace)
    if re.search(r"\bkeys?\b", text):
        return one.keys
    return _right(one.name)


def _user_of(client: Client) -> str:
    pool: Any = client.redis.connection_pool
    return str(pool.connection_kwargs.get("username") or "default")


def _lacks_rights(rules: Sequence[str], user: str) -> RedisRefusal:
    words = ", ".join(_in_words(rule) for rule in rules)
    return RedisRefusal(
        RefusalCode.NOPERM,
        f"refuses its user {user} {words}",
        f"ACL SETUSER {user} {' '.join(rules)}, and ACL SAVE or the same in users.acl",
        needs_operator=True,
    )


def _in_words(rule: str) -> str:
    sign, rest = rule[0], rule[1:]
    match sign:
        case "~":
            return f"the keys {rest}"
        case "&":
            return f"the channels {rest}"
        case _:
            return rest.replace("|", " ").upper()


def _lacks_commands(names: Sequence[str]) -> RedisRefusal:
    return RedisRefusal(
        RefusalCode.NOPERM,
        f"does not know {', '.join(names)}",
        "use Redis 6.2 or newer, or Valkey, in which no command is renamed or switched off",
        needs_operator=True,
    )
