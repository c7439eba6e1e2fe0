"""Warnings at the start: Redis is not safe for paid jobs, or a key cannot do what it must."""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog
from redis.exceptions import RedisError

from jobs.outcomes import CallFailure
from worker.clock import Clock
from worker.doctor.access import (
    AccessProvider,
    judge_access,
    not_approved_hold,
    read_access,
    unreadable_hold,
)
from worker.doctor.findings import Level
from worker.doctor.probes import read_facts
from worker.doctor.redis_server import judge_safety
from worker.provider.port import Identity
from worker.redis.connection_problems import connection_problem
from worker.store import Store
from worker.store.command_check import check_commands, ends_start
from worker.store.holds import HoldStore
from worker.store.payload_keys import LACKING_FIX, lacking_text
from worker.store.refusals import RedisRefusal, error_word, redis_refusal

log: Final = structlog.get_logger(__name__)

CHECK_TIMEOUT_S: Final = 3.0
"""The start waits at most this long for the check."""


async def check_accounts(
    provider: AccessProvider,
    accounts: Collection[str],
    holds: HoldStore,
    clock: Clock,
    *,
    receives_webhooks: bool = False,
) -> None:
    """Log `provider.problem` for what a key cannot do.

    Holds accounts that are not approved, and, without webhooks, those whose key may not poll.
    Never raises: a provider that is down stops no start. One that is not Knouds is logged once.
    """
    logged: set[str] = set()
    for account in accounts:
        try:
            access = await read_access(provider, account)
            if isinstance(access.identity, Identity) and access.identity.approved is False:
                await holds.place(not_approved_hold(account, clock.now()))
            poll = access.poll
            if isinstance(poll, CallFailure) and poll.is_refused and not receives_webhooks:
                await holds.place(unreadable_hold(account, poll, clock.now()))
        except Exception as error:  # noqa: BLE001 - a failed check must not stop the worker
            log.warning("provider.unchecked", account=account, error=type(error).__name__)
            continue
        for finding in judge_access(account, access):
            if finding.level is Level.OK or finding.text in logged:
                continue
            logged.add(finding.text)
            write = log.error if finding.level is Level.FAIL else log.warning
            write("provider.problem", check=finding.name, why=finding.text, fix=finding.fix)


class UnusableRedis(Exception):
    """Redis can never be used as it is: one line for the operator."""


async def require_usable(store: Store) -> list[RedisRefusal]:
    """Try every command; returns what is wrong and may be mended while the program runs.

    Raises UnusableRedis for a cluster or a Sentinel, or where payloads are stored under a key that
    is not set, and RedisError or OSError where Redis does not answer.
    """
    try:
        problems = await check_commands(store.client, store.keys)
    except RedisError as error:
        if (refusal := redis_refusal(error)) is None or not ends_start(refusal):
            raise
        problems = [refusal]
    for problem in problems:
        if ends_start(problem):
            raise UnusableRedis(f"KNOUDS_REDIS_URL: {problem.reason}; {problem.fix}") from None
    if not problems and (lacking := await store.payloads.find_lacking()):
        raise UnusableRedis(f"{lacking_text(lacking)}: {LACKING_FIX}")
    return problems


async def check_redis_at_start(store: Store, url: str | None = None) -> bool:
    """Log `redis.unusable` for what Redis refuses, `redis.unsafe` for what can lose jobs.

    Raises UnusableRedis as `require_usable`. Nothing else stops a start. Reports the key of
    payloads. Returns whether Redis answered and is usable now.
    """
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            problems = await require_usable(store)
            if not problems:
                await store.payloads.report_key()
            facts = await read_facts(store.client)
    except UnusableRedis:
        raise
    except Exception as error:  # noqa: BLE001 - a failed check must not stop the start
        why, fix, _ = await connection_problem(error, url)
        log.warning("redis.unchecked", error=error_word(error), why=why, fix=fix)
        return False
    for problem in problems:
        log.error("redis.unusable", reason=problem.code.value, why=problem.reason, fix=problem.fix)
    for finding in judge_safety(facts):
        log.warning(
            "redis.unsafe",
            check=finding.name,
            severity=finding.level.value,
            why=finding.text,
            fix=finding.fix,
        )
    return not problems
