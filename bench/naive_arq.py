"""The worker that arq's documentation leads to: submit and poll in one job, and `Retry` on trouble.

For comparison only. Defaults of arq, but for `max_jobs`, which is our own worker's, and
`job_timeout`: arq runs a killed worker's jobs again `job_timeout` + 10 s after they were begun,
with its default after more than five minutes, which no measurement would see.
"""

import asyncio
import os
from typing import Any, Final

import aiohttp
from arq import Retry
from arq.connections import RedisSettings

JOB_TIMEOUT_S: Final = 6
POLL_S: Final = 0.5
REQUEST_TIMEOUT_S: Final = 5
BACKOFF_S: Final = 1
URL: Final = "NAIVE_BASE_URL"
REDIS: Final = "NAIVE_REDIS_URL"
KEY: Final = "NAIVE_API_KEY"


async def run_model(ctx: dict[str, Any], target: str, inputs: dict[str, Any]) -> Any:
    """Submit a run and poll it to its end."""
    http: aiohttp.ClientSession = ctx["http"]
    try:
        path = f"/api/models/{target}/run?async=true"
        submitted = await _json(http.post(path, json={"inputs": inputs}))
        while True:
            execution = await _json(http.get(f"/api/executions/{submitted['executionId']}"))
            if execution["status"] == "completed":
                return execution["result"]
            await asyncio.sleep(POLL_S)
    except aiohttp.ClientResponseError as error:
        retry_after = error.headers.get("Retry-After") if error.headers else None
        wait = float(retry_after) if retry_after else ctx["job_try"] * BACKOFF_S
        raise Retry(defer=wait) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Retry(defer=ctx["job_try"] * BACKOFF_S) from error


async def _json(request: Any) -> dict[str, Any]:
    async with request as answer:
        answer.raise_for_status()
        found: dict[str, Any] = await answer.json()
        return found


async def startup(ctx: dict[str, Any]) -> None:
    """Open the session that every job uses."""
    ctx["http"] = aiohttp.ClientSession(
        os.environ[URL],
        headers={"x-api-key": os.environ[KEY]},
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
    )


async def shutdown(ctx: dict[str, Any]) -> None:
    """Close it."""
    await ctx["http"].close()


class NaiveArqSettings:
    """What `arq bench.naive_arq.NaiveArqSettings` reads."""

    functions = (run_model,)
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ.get(REDIS, "redis://127.0.0.1:6379"))
    max_jobs = 50
    job_timeout = JOB_TIMEOUT_S
    max_tries = 1_000
