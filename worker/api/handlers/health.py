"""Probes, and the name and version of the service."""

import asyncio
from importlib.metadata import version
from typing import Final

from aiohttp import web

from worker.api.context import context_of
from worker.api.models.health import IndexResponse, LivenessResponse, ReadinessResponse
from worker.api.models.response import json_response
from worker.api.prefix import PREFIX
from worker.api.problems import refused_by_redis
from worker.engine.worker_problems import described_failures

READY_TIMEOUT_S: Final = 2.0
"""Shorter than the timeouts of our Redis connections: a probe has a deadline of its own."""

SERVICE: Final = "knouds-worker"


async def check_liveness(request: web.Request) -> web.Response:
    """The process answers."""
    del request
    return json_response(LivenessResponse(live=True))


async def check_readiness(request: web.Request) -> web.Response:
    """Redis does what is needed. Workers and their troubles are only reported: jobs wait safely.

    `troubles`: worker id → background services that are being restarted, with the error's class,
    and other problems in words.
    """
    async with asyncio.timeout(READY_TIMEOUT_S):
        queries = context_of(request).use_cases.queries
        for problem in await queries.readiness.problems():
            raise refused_by_redis(problem)
        workers = await queries.live_workers()
    described = {worker.id: described_failures(worker) for worker in workers}
    troubles = {name: found for name, found in described.items() if found}
    return json_response(ReadinessResponse(ready=True, workers=len(workers), troubles=troubles))


async def get_index(request: web.Request) -> web.Response:
    """The name and version of the service, and where its API is described."""
    prefix = request.app[PREFIX]
    body = IndexResponse(
        service=SERVICE, version=version(SERVICE), openapi=f"{prefix}/openapi.json"
    )
    return json_response(body)
