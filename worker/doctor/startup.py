"""Warnings at the start: Redis is not safe for paid jobs, or a key cannot do what it must."""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

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
from worker.store.client import Client
from worker.store.holds import HoldStore

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


async def warn_if_unsafe(client: Client) -> None:
    """Log `redis.unsafe` for persistence, eviction and memory. Never stops a start."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            facts = await read_facts(client)
    except Exception as error:  # noqa: BLE001 - a failed check must not stop the start
        log.warning("redis.unchecked", error=type(error).__name__)
        return
    for finding in judge_safety(facts):
        log.warning(
            "redis.unsafe",
            check=finding.name,
            severity=finding.level.value,
            why=finding.text,
            fix=finding.fix,
        )
