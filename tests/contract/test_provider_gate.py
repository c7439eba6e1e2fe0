"""The gate on its own: what it lets through, and that nothing passes once it is shut."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from tests.contract.raw_server import Line, RawServer, http, in_time, serving, turn_the_loop
from worker.provider.gate import Gate, GatedBody, NotWrittenError


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[RawServer, StreamWriter]]:
    """Open a connection as the library does, and the writer of a request on it."""
    loop = asyncio.get_running_loop()
    async with serving(Line.hang) as server:
        _, port = server.url.removeprefix("http://").split(":")
        transport, protocol = await loop.create_connection(
            lambda: ResponseHandler(loop), "127.0.0.1", int(port)
        )
        await in_time(server.seen)
        protocol.set_response_params()
        try:
            yield server, StreamWriter(protocol, loop)
        finally:
            transport.close()
            await in_time(server.ended)


async def test_a_gate_opens_on_a_connection_that_stands() -> None:
    async with connected() as (server, writer):
        gate = Gate()
        await GatedBody(b"bytes", gate).write(writer)
        assert gate.opened
        assert gate.shut() is False
    assert server.leftovers == [b"bytes"]


async def test_nothing_passes_a_gate_that_was_shut() -> None:
    async with connected() as (server, writer):
        gate = Gate()
        assert gate.shut() is True
        with pytest.raises(NotWrittenError):
            await GatedBody(b"bytes", gate).write(writer)
        assert not gate.opened
    assert server.leftovers == [b""]


async def test_the_library_keeps_the_head_back_until_the_body_comes() -> None:
    """What the gate stands on: aiohttp before 3.12 wrote the head at once."""
    async with connected() as (server, writer):
        await writer.write_headers("POST / HTTP/1.1", CIMultiDict({"content-length": "5"}))
        gate = Gate()
        gate.shut()
        with pytest.raises(NotWrittenError):
            await GatedBody(b"bytes", gate).write(writer)
    assert server.leftovers == [b""]


async def test_a_gate_that_did_not_open_once_never_does() -> None:
    async with connected() as (_, standing), connected() as (_, closing):
        assert closing.transport is not None
        closing.transport.close()
        gate = Gate()
        for writer in (closing, standing):
            with pytest.raises(NotWrittenError):
                gate.open(writer)
        assert not gate.opened


async def test_an_answer_that_was_there_before_the_request_keeps_the_gate_closed() -> None:
    async with connected() as (server, writer):
        await server.lines[0].answer(http(b"{}", 408))
        await turn_the_loop()
        gate = Gate()
        with pytest.raises(NotWrittenError):
            gate.open(writer)
        assert not gate.opened


async def test_an_answer_to_what_was_never_written_is_not_taken() -> None:
    gate = Gate()
    assert gate.answered(408) is False
    gate = Gate()
    async with connected() as (_, writer):
        gate.open(writer)
    assert gate.answered(200) is True
    assert gate.status == 200
