"""Each recipe of `examples/` is run as its README says, against the real program."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from click.testing import CliRunner

from tests.cli.command_runner import WITHIN_S, Program, environ
from tests.clients.client_runs import PYTHON_CLIENT, ROOT
from tests.clients.npm_tools import compile_client, needs_npm
from tests.engine.callback_receiver import SECRET
from tests.engine.live_system import wait_until
from tools.clients.node import TYPESCRIPT, bundled_node
from worker.cli.main import commands
from worker.cli.up.plan import free_port

EXAMPLES: Final = ROOT / "examples"
MEDIA: Final = "https://cdn.knouds.example/"
BIN: Final = Path(sys.executable).parent
"""Where `knouds-worker` and the commands of the development tools are."""


@dataclass(frozen=True, slots=True)
class RecipeSite:
    """The running program."""

    url: str
    redis_url: str
    callback_port: int
    settings: dict[str, str]

    def start(self, *command: str | Path, cwd: Path, **settings: str) -> subprocess.Popen[str]:
        """Start a program of a recipe."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**self.settings, "PATH": path, "PYTHONSAFEPATH": "", **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str | Path, cwd: Path, code: int = 0, **settings: str) -> str:
        """Run a program of a recipe to its end; returns its output."""
        process = self.start(*command, cwd=cwd, **settings)
        try:
            output, _ = process.communicate(timeout=WITHIN_S)
        finally:
            process.kill()
        assert process.returncode == code, output
        return output

    async def get(self, path: str) -> Any:
        """What the API answers."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}{path}") as response:
            return await response.json()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[RecipeSite]:
    """A sandbox whose runs are short, and everything else as `up` starts it."""
    folder = tmp_path_factory.mktemp("recipes")
    port = free_port()
    words = ("sandbox", "--port", "0", "--median-s", "0.2", "--sigma", "0.1")
    sandbox = Program(*words, cwd=folder)
    try:
        started = sandbox.until(r"Knouds sandbox on (\S+) key (\S+)")
        program = Program(
            "up",
            cwd=folder,
            KNOUDS_API_KEY=started[2],
            KNOUDS_BASE_URL=started[1],
            KNOUDS_HTTP_PORT="0",
            KNOUDS_POLL_MIN_S="0.1",
            KNOUDS_CALLBACK_HOSTS=f"http://127.0.0.1:{port}",
            KNOUDS_CALLBACK_SECRET=SECRET,
        )
        try:
            url = program.until(r"Everything is up.*export KNOUDS_API_URL=(\S+)")[1]
            redis_url = (folder / ".state" / "redis.url").read_text().strip()
            path = f"{ROOT}{os.pathsep}{PYTHON_CLIENT / 'src'}"
            settings = environ(KNOUDS_API_URL=url) | {"PYTHONPATH": path, "PYTHONWARNINGS": ""}
            yield RecipeSite(url, redis_url, port, settings)
        finally:
            assert program.end() == 0, program.output
    finally:
        sandbox.end()


def copied(name: str, tmp_path: Path) -> Path:
    """A recipe in a folder of its own, where it may write."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_curl(site: RecipeSite, tmp_path: Path) -> None:
    folder = copied("curl", tmp_path)
    first = site.run("./run.sh", "curl-cat-1", cwd=folder)
    assert MEDIA in first
    assert site.run("./run.sh", "curl-cat-1", cwd=folder, KNOUDS_API_TOKEN="any") == first


def test_python_sync(site: RecipeSite) -> None:
    assert MEDIA in site.run(sys.executable, "sync_client.py", cwd=EXAMPLES / "python")


def test_python_async(site: RecipeSite) -> None:
    output = site.run(sys.executable, "async_client.py", cwd=EXAMPLES / "python")
    assert {f"cats-{number}" for number in range(10)} == set(re.findall(r"cats-\d", output))
    assert output.count(MEDIA) == 10
    assert site.run(sys.executable, "async_client.py", cwd=EXAMPLES / "python").count(MEDIA) == 10


async def test_fastapi_hears_back(site: RecipeSite, tmp_path: Path) -> None:
    port = site.callback_port
    app = f"http://127.0.0.1:{port}"
    server = site.start(
        *(sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)),
        cwd=copied("fastapi", tmp_path),
        CALLBACK_SECRET=SECRET,
        CALLBACK_URL=f"{app}/knouds",
    )
    try:
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    try:
                        order = http.post(f"{app}/pictures/cat", json={"prompt": "a cat"})
                        async with order as response:
                            assert response.status == 202
                            break
                    except aiohttp.ClientConnectorError:
                        await asyncio.sleep(0.05)
                while True:
                    async with http.get(f"{app}/pictures/cat") as response:
                        picture = await response.json()
                    if picture["state"] != "queued":
                        break
                    await asyncio.sleep(0.05)
            assert picture["state"] == "succeeded"
            assert MEDIA in json.dumps(picture["result"])
            forged = {"webhook-id": "m", "webhook-timestamp": str(int(time.time()))}
            forged["webhook-signature"] = "v1,AAAA"
            body = b'{"type":"job.dead","sequence":99,"data":{"id":"picture-cat"}}'
            async with http.post(f"{app}/knouds", data=body, headers=forged) as response:
                assert response.status == 400
    finally:
        server.terminate()
        server.communicate(timeout=WITHIN_S)


def test_django_keeps_the_results(site: RecipeSite, tmp_path: Path) -> None:
    folder = copied("django", tmp_path)
    manage = (sys.executable, "manage.py")
    site.run(*manage, "migrate", "--run-syncdb", "-v", "0", cwd=folder)
    output = site.run(*manage, "make_pictures", "a cat", "a dog", cwd=folder)
    assert output.count(MEDIA) == 2
    assert site.run(*manage, "make_pictures", cwd=folder) == ""


async def test_plain_arq(site: RecipeSite) -> None:
    folder = EXAMPLES / "arq"
    for _ in range(2):
        await asyncio.to_thread(site.run, sys.executable, "enqueue.py", site.redis_url, cwd=folder)
    for name in ("arq-cat-1", "arq-dog-1"):

        async def is_settled(path: str = f"/v1/jobs/{name}/wait?timeout_s=20") -> bool:
            return (await site.get(path)).get("finished_at") is not None

        await wait_until(is_settled, f"the end of {name}")  # it is no job before a worker reads it
        job = await site.get(f"/v1/jobs/{name}")
        assert (job["state"], len(job["attempts"])) == ("succeeded", 1)


def test_the_tutorial(site: RecipeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands work one after another; 6 is the exit code of a wait for a stopped job."""
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    monkeypatch.chdir(tmp_path)
    outputs: list[str] = []
    for name, *shown in lines:
        assert name == "knouds-worker"
        words = [*shown, "--yes"] if "--resubmit" in shown else shown  # it asks
        done = CliRunner().invoke(commands, words, env={"KNOUDS_API_URL": site.url})
        stopped = "--wait" in words and "my-cat" not in words
        assert done.exit_code == (6 if stopped else 0), done.output
        outputs.append(done.output)
    assert MEDIA in outputs[0]
    assert "INVALID_INPUTS" in outputs[3]
    assert "uncertain" in outputs[7]
    assert {"the prompt was missing", "the first run is not needed"} <= set(
        re.findall("the prompt was missing|the first run is not needed", outputs[-1])
    )


@needs_npm
def test_node(site: RecipeSite) -> None:
    compile_client()
    program = TYPESCRIPT / "dist" / "recipe.mjs"  # where the package finds itself by its name
    program.write_text((EXAMPLES / "node" / "run.mjs").read_text())
    assert MEDIA in site.run(bundled_node(), program, cwd=TYPESCRIPT)


def test_a_batch_in_ci(site: RecipeSite, tmp_path: Path) -> None:
    folder = copied("ci", tmp_path)
    output = site.run("./run_batch.sh", "prompts.jsonl", "pictures", "out.jsonl", cwd=folder)
    assert output.endswith("all succeeded\n")
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == [1, 2, 3]
    assert {line["state"] for line in lines} == {"succeeded"}
    broken = '{"prompt": "a cat"}\n{"sandbox": {"fault": "INVALID_INPUTS"}}\n'
    (folder / "broken.jsonl").write_text(broken)
    output = site.run(
        "./run_batch.sh", "broken.jsonl", "broken", "broken-out.jsonl", cwd=folder, code=6
    )
    assert "some failed: knouds-worker batches show broken" in output


def test_an_assistant_over_mcp(site: RecipeSite) -> None:
    output = site.run(sys.executable, "assistant.py", cwd=EXAMPLES / "mcp")
    assert "15 tools for this token" in output
    assert MEDIA in output
    assert "it would cancel 1 job" in output
    assert output.endswith("cancelled 1\n")


def test_the_workflow_runs_the_script_that_is_tested() -> None:
    jobs = yaml.safe_load((EXAMPLES / "ci" / "batch.yml").read_text())["jobs"]
    commands = [step["run"] for step in jobs["batch"]["steps"] if "run" in step]
    assert any(one.startswith("./run_batch.sh prompts.jsonl ") for one in commands)


def test_every_recipe_is_in_the_list_and_has_a_readme() -> None:
    folders = {one.name for one in EXAMPLES.iterdir() if one.is_dir()}
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1/README.md\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(folders)
    assert all((EXAMPLES / one / "README.md").exists() for one in folders)
