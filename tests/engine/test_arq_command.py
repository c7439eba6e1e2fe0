"""`arq worker.main.WorkerSettings`: the worker started by arq's own command."""

import asyncio
import os
import sys
from pathlib import Path

from jobs.states import State
from tests.engine.live_system import LiveSystem, environment
from worker.redis.connect import connect


async def test_arq_starts_the_worker_and_no_argument_reaches_its_log(
    system: LiveSystem, redis_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "arq.log"
    arq = connect(system.settings, redis_url)
    inputs = {"prompt": "a very private prompt", "sandbox": {"duration_s": 0.05}}
    await arq.enqueue_job("run_model", "gpt-image-2", inputs, _job_id="mine")
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("arq")),
            "worker.main.WorkerSettings",
            env=os.environ | environment(system.settings),
            stdout=out,
            stderr=out,
        )
        try:
            await system.until_on_record("mine")
            job = await system.until("mine")
        finally:
            process.terminate()
            code = await process.wait()
    await arq.aclose(close_connection_pool=True)
    assert job.state is State.SUCCEEDED
    assert code == 0
    assert "private" not in log.read_text()


async def test_arqs_command_makes_the_worker_that_outlives_restarts_of_redis(
    system: LiveSystem,
) -> None:
    """The worker of arq alone ends where Redis is away while one of its tasks finishes."""
    program = (
        "import arq.worker, worker.main;"
        "made = arq.worker.create_worker(worker.main.WorkerSettings);"
        "print(type(made) is worker.main.ResilientArqWorker)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env=os.environ | environment(system.settings),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert said == b"True\n"


async def test_a_worker_without_settings_says_so_in_one_line(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("arq")),
        "worker.main.WorkerSettings",
        env={"PATH": os.environ["PATH"], "KNOUDS_MAX_JOBS": "many"},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 1
    assert said.decode().count("\n") == 1
    assert "KNOUDS_MAX_JOBS" in said.decode()
