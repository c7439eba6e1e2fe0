"""`jobs erase`, `audit export` and `verify`, `payloads rewrap`: as operators meet them."""

import asyncio
import base64
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.cli.conftest import Cli, CliWorkspace
from tests.store.test_payload_cipher import INPUTS, job_named
from worker.cli.exit_codes import ExitCode
from worker.redis.connect import connect
from worker.store import Store, open_store
from worker.store.payload_cipher import key_id
from worker.store.side_writes import NewAuditEntry
from worker.store.workers import Heartbeat

OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
NEW_ID = key_id(bytes([2]) * 32)
InStore = Callable[[Callable[[Store], Awaitable[Any]]], Any]


@pytest.fixture
def in_store(redis_url: str, lent_namespace: str) -> InStore:
    """Calls a function with the store of the namespace."""

    async def run(use: Callable[[Store], Awaitable[Any]]) -> Any:
        redis = connect(Settings(namespace=lent_namespace), redis_url)
        try:
            return await use(open_store(redis, lent_namespace))
        finally:
            await redis.aclose(close_connection_pool=True)

    return lambda use: asyncio.run(run(use))


@pytest.fixture
def environment(redis_url: str, lent_namespace: str) -> dict[str, str]:
    return {"KNOUDS_REDIS_URL": redis_url, "KNOUDS_NAMESPACE": lent_namespace}


async def three_entries(store: Store) -> None:
    for n in range(3):
        await store.audit.append(NewAuditEntry(1.0, "ann", "release", "j", f"n{n}", 1))


def test_an_exported_audit_log_is_verified_and_what_is_missing_is_named(
    bare_cli: Callable[[dict[str, str]], Cli],
    in_store: InStore,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    in_store(three_entries)
    cli, file = bare_cli(environment), tmp_path / "audit.jsonl"
    file.write_text(cli("audit", "export").out)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["note"] for row in rows] == ["n0", "n1", "n2"]
    done = cli("audit", "verify", "--export", str(file))
    assert (done.code, done.out.count("3 entries")) == (ExitCode.OK, 2)

    async def cut_off(store: Store) -> None:
        await store.client.call("XDEL", store.keys.audit, rows[2]["id"])

    in_store(cut_off)
    assert cli("audit", "verify").code == ExitCode.OK, "the rest is sound in itself"
    lost = cli("audit", "verify", "--export", str(file))
    assert lost.code == ExitCode.FAILED
    assert f"1 of its entries are not in Redis, the first is {rows[2]['id']}" in lost.out

    async def remove(store: Store) -> None:
        await store.audit.append(NewAuditEntry(2.0, "bob", "release", "j", "later", 1))
        await store.client.call("XDEL", store.keys.audit, rows[1]["id"])

    in_store(remove)
    broken = cli("audit", "verify", "--json")
    assert broken.code == ExitCode.FAILED
    assert broken.doc["Redis"]["problem"].startswith("the entry before it is missing")


def test_rewrap_says_how_many_payloads_remain(
    bare_cli: Callable[[dict[str, str]], Cli], in_store: InStore, environment: dict[str, str]
) -> None:
    async def write(store: Store) -> None:
        assert await store.recovery.until_ready()
        assert await store.jobs.create(job_named("j"), INPUTS) is not None
        await store.payloads.report_key()

    in_store(write)
    assert bare_cli(environment)("payloads", "rewrap").code == ExitCode.SETTINGS
    planted = bare_cli({**environment, "KNOUDS_PAYLOAD_KEYS": NEW})("payloads", "rewrap")
    assert (planted.code, "1 are not encrypted" in planted.out) == (ExitCode.FAILED, True)
    cli = bare_cli({**environment, "KNOUDS_PAYLOAD_KEYS": f"{NEW},{OLD},plain"})
    counted = cli("payloads", "rewrap", "--dry-run")
    assert (counted.code, "1 remain" in counted.out) == (ExitCode.OK, True)
    done = cli("payloads", "rewrap", "--json")
    assert (done.code, done.doc["rewritten"], done.doc["remaining"]) == (ExitCode.OK, 1, 0)
    assert done.doc["first_key"] == NEW_ID
    without = bare_cli({**environment, "KNOUDS_PAYLOAD_KEYS": OLD})("payloads", "rewrap")
    assert without.code == ExitCode.FAILED
    assert f"1 under {NEW_ID} cannot be read" in without.out


def test_a_lost_key_is_given_up_by_its_id(
    bare_cli: Callable[[dict[str, str]], Cli], in_store: InStore, environment: dict[str, str]
) -> None:
    in_store(lambda store: store.payloads.report_key())
    cli = bare_cli({**environment, "KNOUDS_PAYLOAD_KEYS": NEW})
    assert cli("payloads", "forget", "plain").code == ExitCode.OK
    again = cli("payloads", "forget", "plain")
    assert (again.code, "no process has reported" in again.err) == (ExitCode.FAILED, True)

    async def lacking(store: Store) -> frozenset[str]:
        return await store.payloads.find_lacking()

    assert not in_store(lacking)


def test_payloads_are_erased_by_id(workspace: CliWorkspace) -> None:
    job_id, parked = workspace.enqueue("suno"), workspace.park()
    workspace.until(job_id, "succeeded")
    done = workspace.cli("jobs", "erase", job_id, parked, "--note", "asked for", "--yes")
    assert (done.code, done.out) == (ExitCode.FAILED, f"{job_id}: erased\n")
    assert "force" in done.err
    assert workspace.get(job_id)["payload_problem"] == "payloads_erased"
    assert workspace.cli("jobs", "erase", parked, "--force", "--yes").code == ExitCode.OK
    released = workspace.cli("parked", "release", parked)
    assert released.code == ExitCode.FAILED
    assert "were erased" in released.err


def test_a_health_check_looks_for_a_heartbeat_of_this_host(
    bare_cli: Callable[[dict[str, str]], Cli], in_store: InStore, environment: dict[str, str]
) -> None:
    cli = bare_cli(environment)

    def beat(host: str, ago_s: float) -> Callable[[Store], Awaitable[None]]:
        async def record(store: Store) -> None:
            now = (await store.workers.surroundings("")).redis_time
            await store.workers.record_heartbeat(
                Heartbeat(id=host, host=host, pid=1, started_at=1.0, seen_at=now - ago_s)
            )

        return record

    for host, ago_s, code in [
        ("another", 0.0, ExitCode.FAILED),
        (socket.gethostname(), 100.0, ExitCode.FAILED),
        (socket.gethostname(), 0.0, ExitCode.OK),
    ]:
        in_store(beat(host, ago_s))
        assert cli("worker", "--check").code == code
