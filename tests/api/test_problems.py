"""Errors: always a problem, always the true status, never anything internal."""

import asyncio
import io
import time
from collections.abc import Generator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

from config.logging import configure_logging
from config.settings import Settings
from tests.api.checked_api import REQUEST, CheckedApi
from tests.api.conftest import OpenApi
from tests.api.job_factory import JobFactory
from worker.redis.connect import connect
from worker.store import open_store
from worker.store.jobs import JobStore


@pytest.fixture
def logged() -> Generator[io.StringIO]:
    """What is logged, as the program logs it."""
    stream = io.StringIO()
    configure_logging("json", "debug", stream)
    yield stream
    configure_logging("json", "critical", io.StringIO())


async def test_an_unknown_path_is_a_problem(api: CheckedApi) -> None:
    reply = await api.get("/v1/nothing")
    assert reply.status == 404
    assert reply.json["type"].endswith("no-such-path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs/j1", "GET, HEAD, PATCH"),
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("GET", "/v1/jobs/j1/cancel", "POST"),
        ("POST", "/v1/stats", "GET, HEAD"),
    ],
)
async def test_another_method_is_refused_with_the_possible_ones(
    api: CheckedApi, method: str, path: str, allowed: str
) -> None:
    reply = await api.call(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)


async def test_head_is_get_without_the_body(api: CheckedApi, job_factory: JobFactory) -> None:
    await job_factory.queued("j1")
    assert (await api.call("HEAD", "/v1/jobs/j1")).status == 200
    assert (await api.call("HEAD", "/v1/jobs/none")).status == 404


async def test_answers_are_not_to_be_kept(api: CheckedApi) -> None:
    for reply in (await api.get("/v1/stats"), await api.get("/v1/nothing")):
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_bug_is_a_500_without_internals_and_without_payloads_in_the_log(
    api: CheckedApi, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("hunter2 from the inputs")

    monkeypatch.setattr(JobStore, "create_if", broken)
    reply = await api.post("/v1/jobs", {**REQUEST, "inputs": {"p": "hunter2"}})
    assert reply.status == 500
    assert b"hunter2" not in reply.body
    assert b"KeyError" not in reply.body
    text = logged.getvalue()
    assert '"event": "request.failed"' in text
    assert '"error": "KeyError"' in text
    assert '"route": "/v1/jobs"' in text
    assert "hunter2" not in text


async def test_ordinary_traffic_logs_no_inputs(
    api: CheckedApi, job_factory: JobFactory, logged: io.StringIO
) -> None:
    await api.post("/v1/jobs", {**REQUEST, "inputs": {"p": "hunter2"}, "priority": "hunter2"})
    await api.post("/v1/jobs", {**REQUEST, "inputs": {"p": "hunter2"}})
    await job_factory.succeeded("j1", b'{"p":"hunter2"}')
    await api.get("/v1/jobs/j1")
    assert "hunter2" not in logged.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Connection refused"),
        OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        TimeoutError(),
        ConnectionResetError(),
    ],
)
async def test_a_store_that_cannot_answer_is_503_and_worth_another_try(
    api: CheckedApi, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def down(*_: object) -> None:
        raise error

    monkeypatch.setattr(JobStore, "create_if", down)
    reply = await api.post("/v1/jobs", REQUEST)
    assert reply.status == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert str(error) not in reply.detail or not str(error)


async def test_a_dead_redis_is_reported_by_the_probe_soon(
    open_api: OpenApi, namespace: str
) -> None:
    settings = Settings(namespace=namespace, http_port=0)
    redis = connect(settings, "redis://127.0.0.1:1/0")
    async with open_api(open_store(redis, namespace), settings) as api:
        begun = time.monotonic()
        ready, live, listed = await asyncio.gather(
            api.get("/readyz"), api.get("/livez"), api.get("/v1/jobs")
        )
        assert (ready.status, live.status, listed.status) == (503, 200, 503)
        assert time.monotonic() - begun < 8
    await redis.aclose(close_connection_pool=True)


async def test_ready_says_how_many_workers_live(api: CheckedApi) -> None:
    assert (await api.get("/readyz")).json == {"ready": True, "workers": 0, "troubles": {}}


async def test_the_index_says_what_is_here(api: CheckedApi) -> None:
    index = (await api.get("/")).json
    assert (index["service"], index["openapi"]) == ("knouds-worker", "/openapi.json")


async def test_a_request_that_is_no_http_is_refused_and_not_quoted_in_the_log(
    api: CheckedApi, logged: io.StringIO
) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /livez HTTP/1.1\r\nCookie: knouds_session=secret" + b"x" * 9_000)
    writer.write(b"\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.0 400 ")
    writer.close()
    assert "LineTooLong" in logged.getvalue()
    assert "secret" not in logged.getvalue()
