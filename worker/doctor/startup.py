"""A warning at the start, where Redis is not safe for paid jobs."""

import asyncio
from typing import Final

import structlog

from worker.doctor.probes import read_facts
from worker.doctor.redis_server import judge_safety
from worker.store.client import Client

log: Final = structlog.get_logger(__name__)

CHECK_TIMEOUT_S: Final = 3.0
"""The start waits at most this long for the check."""


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
