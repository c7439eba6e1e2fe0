"""Asking Redis and the provider for the facts that are judged."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError

from config.settings import Settings
from jobs.lanes import Lane
from jobs.states import State
from worker.clock import Clock
from worker.doctor.environment import (
    NamespaceFacts,
    judge_account,
    judge_accounts,
    judge_clock,
    judge_namespace,
    judge_settings,
    judge_workers,
)
from worker.doctor.findings import Finding, Level, fail, ok
from worker.doctor.redis_server import LOADING, ServerFacts, judge_server, read_server
from worker.provider.http.pool import HttpOptions
from worker.provider.knouds.client import KnoudsClient, Timeouts
from worker.store import Store
from worker.store.client import Client
from worker.store.integrity import IntegrityReader

REDIS_REACHABLE: Final = "redis.reachable"
CHECK_REFUSED: Final = "integrity.refused"

CLOCK_SAMPLES: Final = 3
"""The quickest answer tells the time best."""

_CONFIG: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")

_MOVED_BY_WORKERS: Final = (
    State.SCHEDULED,
    State.QUEUED,
    State.SUBMITTING,
    State.RUNNING,
    State.RETRYING,
    State.CANCELLING,
)


async def read_facts(client: Client) -> ServerFacts:
    """What the server says of itself. Raises RedisError where it does not answer."""
    try:
        info: dict[str, Any] = await client.call("INFO")
    except ResponseError:  # not allowed to
        info = {}
    config: dict[str, Any] | None = {}
    for name in _CONFIG:
        try:
            config |= await client.call("CONFIG GET", name)
        except ResponseError:
            config = None
            break
    return read_server(info, config)


async def check_redis(store: Store, clock: Clock) -> list[Finding]:
    """Everything about Redis; a failed `redis.reachable` where it does not answer."""
    try:
        began = time.monotonic()
        await store.client.call("PING")
        took = time.monotonic() - began
        facts = await read_facts(store.client)
        found = [
            ok(REDIS_REACHABLE, f"Redis answers within {took * 1000:.1f} ms"),
            *judge_server(facts),
        ]
        if not facts.loading:
            found += judge_namespace(await _read_namespace(store))
            found.append(judge_clock(*await _read_skew(store.client, clock)))
    except (RedisError, OSError) as error:
        return [unreachable_finding(error)]
    return found


def unreachable_finding(error: Exception) -> Finding:
    """Redis did not answer, or let us in."""
    fix = "start it, or look at KNOUDS_REDIS_URL; nothing moves without it, and nothing is lost"
    return fail(REDIS_REACHABLE, f"Redis cannot be used: {str(error) or type(error).__name__}", fix)


def refused_finding(error: Exception) -> Finding:
    """Redis answered that it will not."""
    fix = "give the user of KNOUDS_REDIS_URL every right on the namespace, or mend what it says"
    return fail(CHECK_REFUSED, f"Redis refuses: {error}", fix)


def is_redis_unusable(finding: Finding) -> bool:
    """Whether Redis cannot be asked anything further."""
    return finding.name in (REDIS_REACHABLE, LOADING) and finding.level is not Level.OK


async def _read_namespace(store: Store) -> NamespaceFacts:
    ledger, queue = IntegrityReader(store.client, store.keys), store.keys.arq_queue
    kept = ledger.fixed_key_types()
    types = await ledger.types(list(kept))
    wrong = {
        key: (kind, kept[key]) for key, kind in types.items() if kind not in (kept[key], "none")
    }
    waiting = None if queue in wrong else int(await store.client.call("ZCARD", queue))
    return NamespaceFacts(
        store.keys.namespace, wrong, queue, waiting, await _other_namespaces(store, ":wake")
    )


async def _other_namespaces(store: Store, suffix: str) -> list[str]:
    """Other namespaces somebody listens in: cheap, unlike a look at every key."""
    try:
        channels: list[bytes] = await store.client.call("PUBSUB CHANNELS", f"*{suffix}")
    except ResponseError:  # not allowed to
        return []
    names = {channel.decode("utf-8", "replace").removesuffix(suffix) for channel in channels}
    return sorted(names - {store.keys.namespace})


async def _read_skew(client: Client, clock: Clock) -> tuple[float, float]:
    """How far our clock is ahead of Redis', and how far that may be wrong, in seconds."""
    looks: list[tuple[float, float]] = []
    for _ in range(CLOCK_SAMPLES):
        before = clock.now()
        seconds, micros = await client.call("TIME")
        after = clock.now()
        theirs = int(seconds) + int(micros) / 1e6
        looks.append(((after - before) / 2, (before + after) / 2 - theirs))
    doubt, skew = min(looks)
    return skew, doubt


async def check_workers(store: Store, settings: Settings, now: float) -> list[Finding]:
    """Everything about the fleet."""
    beats = await store.workers.heartbeats()
    sizes, _ = await store.queries.state_counts()
    waiting = sum(sizes[state] for state in _MOVED_BY_WORKERS)
    return judge_workers(beats, now, settings.lease_s, waiting)


async def check_accounts(store: Store, settings: Settings) -> list[Finding]:
    """Whether every account that has jobs has a key."""
    ledger = IntegrityReader(store.client, store.keys)
    lanes = (await ledger.sizes([])).lanes or ()
    used = {account for name in lanes if (account := _account_of_lane(name))}
    return judge_accounts(list(settings.accounts), sorted(used))


def _account_of_lane(lane: str) -> str | None:
    try:
        return Lane.parse(lane).account
    except ValueError:
        return None


async def check_provider(settings: Settings) -> list[Finding]:
    """Ask the provider about every key; nothing is run and nothing is spent."""
    accounts = settings.accounts
    if not accounts:
        return []
    timeouts = Timeouts(poll_s=settings.poll_timeout_s)
    http = HttpOptions(connect_s=settings.connect_timeout_s)
    async with KnoudsClient(settings.base_url, accounts, timeouts=timeouts, http=http) as provider:
        answers = await asyncio.gather(*(provider.whoami(account) for account in accounts))
    return [judge_account(*pair) for pair in zip(accounts, answers, strict=True)]


async def check_all(
    store: Store, settings: Settings, clock: Clock, *, provider: bool
) -> AsyncIterator[list[Finding]]:
    """Every check but the census, group by group; it ends early where Redis does not answer."""
    redis = await check_redis(store, clock)
    yield redis
    yield judge_settings(settings)
    if provider:
        yield await check_provider(settings)
    if any(is_redis_unusable(finding) for finding in redis):
        return
    try:
        yield await check_accounts(store, settings)
        yield await check_workers(store, settings, clock.now())
    except ResponseError as error:
        fix = "mend what is said of Redis' keys and of its user's rights, then look again"
        yield [fail("workers.unreadable", f"the fleet cannot be read: {error}", fix)]
