"""The complete program, started by `up`, for the browser tests and the screenshots."""

import json
import os
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.command_runner import Program, wait_until
from worker.cli.up.plan import DEMO_COUNT_FILE, STUDIO_KEY
from worker.redis.embedded import URL_FILE

Doc = dict[str, Any]

SECRETS = {
    "ann": ("operate", "secret-of-ann-1234567"),
    "ben": ("read", "secret-of-ben-1234567"),
    "cat": ("watch", "secret-of-cat-1234567"),
}
"""Name → role and secret of an API token."""

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def find_chromium() -> str | None:
    """Path of Chromium or Chrome; the variable CHROMIUM overrides it."""
    found = (shutil.which(name) for name in NAMES)
    return os.environ.get("CHROMIUM") or next((path for path in found if path), None)


@dataclass(frozen=True, slots=True)
class RunningSite:
    """URLs of the running program, and what a test does beside the browser."""

    url: str
    sandbox_url: str
    program: Program
    redis_url: str

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the API with the operate role."""
        headers = {"Authorization": f"Bearer {SECRETS['ann'][1]}"}
        return _call(method, self.url + path, body, headers)

    def sandbox_admin(self, path: str, **body: object) -> Any:
        """Call the admin API of the sandbox."""
        return _call("POST", f"{self.sandbox_url}/_sandbox/{path}", body, {})

    def top_up(self, credits_left: int) -> None:
        """Set the balance of the account `studio`."""
        self.sandbox_admin("topup", key=STUDIO_KEY, balance=credits_left)

    def enqueue(self, target: str = "gpt-image-2", *, kind: str = "model", **request: Any) -> str:
        """Enqueue a job; `knobs` set how its run in the sandbox behaves."""
        knobs = {"label": uuid.uuid4().hex, "duration_s": 0.3, **request.pop("knobs", {})}
        inputs = {"prompt": "a cat", "sandbox": knobs, **request.pop("inputs", {})}
        body = {"kind": kind, "target": target, "account": "demo", "inputs": inputs, **request}
        return str(self.api("POST", "/v1/jobs", body)["id"])

    def job(self, job_id: str) -> Doc:
        found: Doc = self.api("GET", f"/v1/jobs/{job_id}")
        return found

    def until(self, job_id: str, state: str, within_s: float = 20.0) -> Doc:
        """Wait until a job is in a state."""

        def job_in_state() -> Doc | None:
            job = self.job(job_id)
            return job if job["state"] == state else None

        return wait_until(
            job_in_state, within_s, lambda: f"{job_id} never was {state}: {self.job(job_id)}"
        )

    def until_webhook_reported(self, job_id: str, within_s: float = 20.0) -> None:
        """Wait until a webhook reported a possible match of an uncertain job."""

        def has_candidates() -> bool:
            evidence: Doc = self.api("GET", f"/v1/jobs/{job_id}/why")["evidence"]
            return bool(evidence["executions"])

        wait_until(has_candidates, within_s, lambda: f"no webhook for {job_id}")


def _call(method: str, url: str, body: object, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310 - a local URL
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - same
            return json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{method} {url}: {error.status} {error.read()!r}") from None


@contextmanager
def running(
    folder: Path, *, accounts: int = 3, tokens: bool = True, demo: bool = False
) -> Generator[RunningSite]:
    """Start everything in a folder, and stop it at the end."""
    state_dir = folder / "state"
    state_dir.mkdir(parents=True)
    (state_dir / DEMO_COUNT_FILE).write_text(str(accounts), encoding="ascii")
    tokens_setting = ",".join(f"{name}:{role}:{secret}" for name, (role, secret) in SECRETS.items())
    program = Program(
        *(["up", "--demo"] if demo else ["up"]),
        cwd=folder,
        KNOUDS_HTTP_PORT="0",
        KNOUDS_STATE_DIR=str(state_dir),
        KNOUDS_RETRY_BASE_S="0.05",
        KNOUDS_POLL_MIN_S="0.1",
        KNOUDS_API_TOKENS=tokens_setting if tokens else "",
        KNOUDS_MEDIA_HOSTS="cdn.knouds.example",  # where results of the sandbox are
    )
    try:
        url = program.until(r"Everything is up.*export KNOUDS_API_URL=(\S+)")[1]
        sandbox = program.until(r"sandbox\s+(http://\S+?)/ in place of Knouds")[1]
        redis_url = (state_dir / URL_FILE).read_text(encoding="utf-8").strip()
        yield RunningSite(url, sandbox, program, redis_url)
    finally:
        assert program.end() == 0, program.output
