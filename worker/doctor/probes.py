"""Reads the facts that are judged from Redis and the provider."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from typing import Final

from redis.exceptions import RedisError, ResponseError

from config.settings import Settings
from jobs.lanes import Lane
from jobs.states import State
from worker.clock import Clock, RedisClock
from worker.doctor.access import judge_access, read_access
from worker.doctor.callbacks import check_callbacks
from worker.doctor.environment import (
    CLOCK_SKEW,
    NamespaceFacts,
    judge_accounts,
    judge_clock,
    judge_namespace,
    judge_settings,
    judge_workers,
)
from worker.doctor.exposure import judge_exposure
from worker.doctor.findings import Finding, Level, fail, ok
from worker.doctor.gates import check_gates
from worker.doctor.redis_server import (
    CLUSTER,
    LOADING,
    ServerFacts,
    judge_commands,
    judge_server,
    read_server,
)
from worker.doctor.redundancy import check_replicas, check_sentinels
from worker.provider.port import RunProvider
from worker.redis.connection_problems import connection_problem
from worker.redis.server import RedisServer
from worker.store import Store
from worker.store.client import Client, ReplicaWait
from worker.store.command_check import check_commands, ends_start
from worker.store.integrity import IntegrityReader
from worker.store.refusals import redis_refusal

REDIS_REACHABLE: Final = "redis.reachable"
CHECK_REFUSED: Final = "integrity.refused"

CLOCK_SAMPLES: Final = 3
"""Reads of Redis' clock: the one with the shortest round trip counts."""

_CONFIG: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")

_MOVED_BY_WORKERS: Final = (
    State.SCHEDULED,
    State.WAITING,
    State.QUEUED,
    State.SUBMITTING,
    State.RUNNING,
    State.RETRYING,
    State.CANCELLING,
)


async def read_facts(client: Client) -> ServerFacts:
    """What the server says of itself; raises `redis.exceptions.RedisError`."""
    server = RedisServer(client)
    return read_server(await server.info(), await server.config(_CONFIG))


async def check_redis(
    store: Store, clock: Clock, url: str | None = None, wait: ReplicaWait | None = None
) -> list[Finding]:
    """Findings about Redis; only a failed `redis.reachable` if it does not answer.

    `wait`: how long an enqueue and a send mark wait for replicas.
    """
    try:
        began = time.monotonic()
        problems = await check_commands(store.client, store.keys)
        took = time.monotonic() - began
        facts = await read_facts(store.client)
        judged = judge_server(facts)
        found = [
            ok(REDIS_REACHABLE, f"Redis answers within {took * 1000:.1f} ms"),
            *judged,
            *judge_commands(problems, judged),
        ]
        if facts.loading or any(ends_start(problem) for problem in problems):
            return found
        found += await check_sentinels(RedisServer(store.client).primary)
    except (RedisError, OSError) as error:
        return [await unreachable_finding(error, url)]
    try:
        if wait is not None and not problems:
            found.append(await check_replicas(store.client, store.keys, wait))
        found += judge_namespace(await _read_namespace(store))
        found.append(judge_clock(*await _read_skew(store.client, clock)))
    except ResponseError as error:
        if not problems:
            found.append(refused_finding(error))
    except (RedisError, OSError) as error:
        return [await unreachable_finding(error, url)]
    return found


async def unreachable_finding(error: Exception, url: str | None) -> Finding:
    """The finding that Redis does not answer or refuses the login."""
    return fail(REDIS_REACHABLE, *(await connection_problem(error, url))[:2])


def refused_finding(
    error: Exception, name: str = CHECK_REFUSED, what: str = "not everything was checked"
) -> Finding:
    """The finding that Redis refuses the commands of a check, and `what` follows from that."""
    if (refusal := redis_refusal(error)) is not None:
        return fail(name, f"{what}: {refusal.reason}", refusal.fix)
    fix = "fix what the findings say of Redis' keys and of its user's rights, then run this again"
    return fail(name, f"{what}: {error}", fix)


def is_redis_unusable(finding: Finding) -> bool:
    """Whether a finding says that no further command can succeed."""
    return finding.name in (REDIS_REACHABLE, LOADING, CLUSTER) and finding.level is not Level.OK


async def _read_namespace(store: Store) -> NamespaceFacts:
    reader, queue = IntegrityReader(store.client, store.keys), store.keys.arq_queue
    expected = reader.fixed_key_types()
    types = await reader.types(list(expected))
    wrong = {
        key: (kind, expected[key])
        for key, kind in types.items()
        if kind not in (expected[key], "none")
    }
    queued = None if queue in wrong else await reader.arq_queue_size()
    ending = store.keys.wake.removeprefix(store.keys.namespace)
    channels = await RedisServer(store.client).channels(ending)  # cheap, unlike listing every key
    others = {channel.removesuffix(ending) for channel in channels} - {store.keys.namespace}
    return NamespaceFacts(store.keys.namespace, wrong, queue, queued, sorted(others))


async def _read_skew(client: Client, clock: Clock) -> tuple[float, float]:
    """How far this machine's clock is ahead of Redis', and the uncertainty of that, in seconds.

    A clock that follows Redis does so from now on: the workers are judged by the time they work by.
    """
    samples: list[tuple[float, float]] = []
    for _ in range(CLOCK_SAMPLES):
        before = clock.now()
        redis_time = await RedisServer(client).time()
        after = clock.now()
        samples.append(((after - before) / 2, (before + after) / 2 - redis_time))
    uncertainty, skew = min(samples)
    if isinstance(clock, RedisClock):
        asked_at = clock.steady()
        clock.compare(await RedisServer(client).time(), asked_at, clock.steady())
    return skew, uncertainty


async def check_workers(
    store: Store, settings: Settings, now: float, *, clocks_differ: bool = False
) -> list[Finding]:
    """Findings about the workers, see `judge_workers`."""
    beats = await store.workers.heartbeats()
    sizes, _ = await store.read.queries.state_counts()
    waiting = sum(sizes[state] for state in _MOVED_BY_WORKERS)
    refusals = await check_commands(store.client, store.keys)
    return judge_workers(
        beats, now, settings.lease_s, waiting, refusals, clocks_differ=clocks_differ
    )


async def check_accounts(store: Store, settings: Settings) -> list[Finding]:
    """Findings about accounts that have queued jobs and no API key."""
    lanes = (await IntegrityReader(store.client, store.keys).sizes([])).lanes or ()
    used = {account for name in lanes if (account := _account_of_lane(name))}
    return judge_accounts(list(settings.accounts), sorted(used))


def _account_of_lane(lane: str) -> str | None:
    try:
        return Lane.parse(lane).account
    except ValueError:
        return None


def unusable_path_finding(error: Exception) -> Finding:
    """The finding about a proxy or a CA file that cannot be used; `error` names the variable."""
    return fail("provider.network", str(error), "correct it, then start the workers again")


async def check_provider(provider: RunProvider, accounts: Collection[str]) -> list[Finding]:
    """Findings about the way to the provider and every API key; this charges nothing."""
    try:
        answers = await asyncio.gather(*(read_access(provider, account) for account in accounts))
    finally:
        await provider.close()
    found = [ok("provider.network", f"the way to the provider: {provider.network_path}")]
    for account, access in zip(accounts, answers, strict=True):
        found += judge_access(account, access)
    return found


async def check_all(
    store: Store, settings: Settings, clock: Clock, provider: RunProvider | None
) -> AsyncIterator[list[Finding]]:
    """Every check but the integrity check, a group at a time; ends early if Redis is unusable."""
    replicas, wait_ms = settings.redis_wait_replicas, settings.redis_wait_ms
    wait = ReplicaWait(replicas, wait_ms) if replicas else None
    redis = await check_redis(store, clock, settings.plain_redis_url, wait)
    yield redis
    yield [*judge_settings(settings), *judge_exposure(settings)]
    if provider is not None:
        yield await check_provider(provider, settings.accounts)
    if any(is_redis_unusable(finding) for finding in redis):
        return
    try:
        yield await check_accounts(store, settings)
        differ = any(one.name == CLOCK_SKEW and one.level is Level.FAIL for one in redis)
        yield await check_workers(store, settings, clock.now(), clocks_differ=differ)
        yield await check_gates(store)
        yield await check_callbacks(store, settings, clock.now())
    except ResponseError as error:
        yield [refused_finding(error, "workers.unreadable", "the workers cannot be read")]
