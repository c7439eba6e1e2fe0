"""Records the examples of `/openapi.json` from calls of the real program: `make examples`.

It starts everything that `knouds-worker up` starts, plays a day of an operator, and writes what was
sent and answered, by operation and status.
"""

import json
import re
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from socket import gethostname
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from tests.cli.command_runner import Program
from worker.api.openapi_examples import EXAMPLES_FILE, Examples
from worker.compose.api import ENDPOINTS

MAX_ITEMS: Final = 3
"""Items that are kept of a list."""

HOST: Final = "worker-1"
"""The host that the examples name."""

REQUEST: Final = {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}

CALLBACK_URL: Final = "https://hooks.example.com/knouds"

SETTINGS: Final = {
    "KNOUDS_HTTP_PORT": "0",
    "KNOUDS_POLL_MIN_S": "0.1",
    "KNOUDS_CALLBACK_HOSTS": "hooks.example.com",
    "KNOUDS_CALLBACK_SECRET": "whsec_" + "QUFB" * 11,
}


class Recorder:
    """Calls the API, and keeps the first request and answer of each operation and status."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.examples: Examples = {}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call; its answer, which may be a problem."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the address of the API that was started
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=70) as answer:  # noqa: S310
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        answered = json.loads(text)
        kept = self.examples.setdefault(_operation(method, path), {"responses": {}})
        kept["responses"].setdefault(str(status), _shortened(answered))
        if body is not None and status < 400:  # noqa: PLR2004 - a request that is accepted
            kept.setdefault("request", body)
        return answered

    def get(self, path: str) -> Any:
        """The answer to a GET."""
        return self.call("GET", path)

    def post(self, path: str, body: object = None) -> Any:
        """The answer to a POST."""
        return self.call("POST", path, body)

    def until_settled(self, job_id: str, timeout_s: int = 60) -> Any:
        """A job, as soon as it is settled or parked."""
        return self.get(f"/v1/jobs/{job_id}/wait?timeout_s={timeout_s}")


def _operation(method: str, path: str) -> str:
    """The id of the operation that a call is of; the most specific path counts."""
    parts = urlsplit(path).path
    fitting = [
        one
        for one in ENDPOINTS
        if one.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", one.path), parts)
    ]
    return min(fitting, key=lambda one: one.path.count("{")).operation.id


def _shortened(value: object) -> Any:
    """A JSON value with the first items of its lists."""
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_shortened(one) for one in cast("list[object]", value)[:MAX_ITEMS]]
    return value


def _enqueue(api: Recorder) -> None:
    facts = {"priority": 5, "fair_key": "c-81", "metadata": {"order": 1234567}}
    cat = {**REQUEST, **facts, "id": "cat-1", "tags": ["cover"], "batch": "autumn"}
    api.post("/v1/jobs", cat)
    api.until_settled("cat-1")
    api.post("/v1/jobs", cat)
    api.post("/v1/jobs", {**cat, "priority": 6})
    api.post("/v1/jobs", {**cat, "priority": 600})
    api.post("/v1/jobs/dry-run", cat)
    later = {**REQUEST, "delay_s": 3_600, "callback_url": CALLBACK_URL}
    dogs = [{**later, "id": f"dog-{number}"} for number in (1, 2)]
    api.post("/v1/jobs/bulk", {"jobs": [*dogs, {**REQUEST, "id": "cat-1"}]})
    api.get("/v1/jobs/cat-1")
    api.get("/v1/jobs/nothing")
    api.get("/v1/jobs/dog-1/why")
    api.get("/v1/jobs?batch=autumn&limit=2")


def _act(api: Recorder) -> None:
    note = {"note": "wait for the new prompt"}
    api.call("PATCH", "/v1/jobs/dog-1", {"priority": 10, "tags": ["cover"], **note})
    api.post("/v1/jobs/dog-1/park", note)
    api.post("/v1/jobs/dog-1/release", {"note": "the prompt is ready"})
    api.post("/v1/jobs/dog-1/park", note)
    api.post("/v1/jobs/dog-1/discard", {"note": "not needed"})
    api.post("/v1/jobs/dog-2/cancel", {"note": "not needed"})
    api.post("/v1/jobs/cat-1/cancel")
    for job_id, fault in (("broken-1", "INVALID_INPUTS"), ("lost-1", "drop_after")):
        api.post("/v1/jobs", {**REQUEST, "id": job_id, "inputs": {"sandbox": {"fault": fault}}})
        api.until_settled(job_id)
    api.get("/v1/groups?state=dead")
    api.post("/v1/jobs/lost-1/resolve", {"outcome": "discard", "note": "its result is not needed"})
    fixed = {"inputs": {"prompt": "a dog"}, "note": "the prompt was missing"}
    api.post("/v1/jobs/broken-1/requeue", fixed)
    api.until_settled("broken-1")
    for action in ("release", "requeue", "discard", "cancel", "resubmit"):
        api.post(f"/v1/bulk/{action}", {"filter": {"batch": "autumn"}, "dry_run": True})
    api.call("DELETE", "/v1/jobs/cat-1/payloads", {"note": "asked for by its author"})


def _operate(api: Recorder) -> None:
    hold = api.post("/v1/holds", {"scope": "default/model", "note": "price check"})
    api.get("/v1/holds")
    api.post(f"/v1/holds/{hold['id']}/release", {"note": "the price is right"})
    scope = "default/model/suno"
    down = {"sandbox": {"fault": "HTTP_503"}}
    for number in range(6):
        api.post("/v1/jobs", {**REQUEST, "target": "suno", "inputs": down, "id": f"song-{number}"})
    deadline = time.monotonic() + 30
    while not (found := api.get("/v1/breakers")["items"]) and time.monotonic() < deadline:
        time.sleep(0.2)
        api.examples.pop("list_breakers")
    breaker = quote(found[0]["id"], safe="") if found else scope
    api.post(f"/v1/breakers/{breaker}/probe", {"note": "the provider says that it is back"})
    api.post(f"/v1/breakers/{breaker}/reset", {"note": "the provider is back"})
    api.get("/v1/breakers")
    (worker,) = api.get("/v1/stats")["workers"]
    api.post(f"/v1/workers/{quote(worker['id'], safe='')}/drain", {"note": "deploy"})
    api.call("DELETE", f"/v1/workers/{quote(worker['id'], safe='')}/drain", {"note": "deployed"})
    api.post("/v1/accounts/default/reconcile-on", {"note": "rows come in time again"})


def _hear_back(api: Recorder) -> None:
    found = api.get("/v1/callbacks?job=dog-1")["items"][0]
    api.get(f"/v1/callbacks/{found['id']}")
    api.post(f"/v1/callbacks/{found['id']}/resend", {"note": "the receiver is up again"})


def _account(api: Recorder) -> None:
    api.post("/v1/credits/balance", {"credits": 15_000, "note": "as the billing page shows"})
    api.get("/v1/credits?by=target")
    api.get("/v1/credits/forecast")
    budget = {"scope": "default", "period": "day", "limit": 500, "time_zone": "Europe/Berlin"}
    api.call("PUT", "/v1/budgets/daily", budget)
    api.get("/v1/budgets/daily")
    api.get("/v1/budgets")
    api.call("DELETE", "/v1/budgets/daily", {"note": "replaced by a monthly one"})


def _cap(api: Recorder) -> None:
    path = "/v1/caps/default%2Fmodel%2Fsuno"
    api.call("PUT", path, {"cap": 4, "note": "slow today"})
    api.call("PUT", path, {"cap": 0})
    api.get(path)
    api.get("/v1/caps")
    api.call("DELETE", path)
    api.call("DELETE", path)


def _batch(api: Recorder) -> None:
    api.post("/v1/batches", {"name": "spring", "metadata": {"customer": 7}, "budget": 500})
    api.post("/v1/jobs", {**REQUEST, "id": "spring-1", "batch": "spring"})
    broken = {"sandbox": {"fault": "INVALID_INPUTS"}}
    api.post("/v1/jobs", {**REQUEST, "id": "spring-2", "inputs": broken, "batch": "spring"})
    for job_id in ("spring-1", "spring-2"):
        api.until_settled(job_id)
    api.post("/v1/batches/spring/seal", {"note": "all is sent"})
    api.get("/v1/batches/spring")
    api.get("/v1/batches?limit=1")
    api.get("/v1/batches/spring/results?limit=1")
    api.post("/v1/batches/spring/requeue-failed", {"note": "the inputs are right now"})
    api.post("/v1/batches/spring/cancel", {"note": "not needed"})


def _schedule(api: Recorder) -> None:
    nightly = {"cron": "0 3 * * *", "time_zone": "Europe/Berlin", "job": REQUEST}
    path = "/v1/schedules/nightly"
    api.call("PUT", path, {**nightly, "cron": "0 0 30 2 *"})
    api.call("PUT", path, {**nightly, "note": "the cover of the day"})
    run = api.post(f"{path}/run", {"note": "a first one"})
    api.until_settled(run["id"])
    api.get(path)
    api.get("/v1/schedules")
    api.post(f"{path}/disable", {"note": "no covers on holidays"})
    api.post(f"{path}/enable", {"note": "the holidays are over"})
    api.call("DELETE", path, {"note": "not needed"})
    api.get(path)


def _observe(api: Recorder) -> None:
    for path in ("/v1/whoami", "/v1/stats/history?window=5m", "/v1/audit?limit=3", "/v1/sessions"):
        api.get(path)
    for path in ("/livez", "/readyz", "/"):
        api.get(path)


def record() -> Examples:
    """Start everything in an empty folder, make every call, and return what was said."""
    with tempfile.TemporaryDirectory() as folder:
        program = Program("up", cwd=Path(folder), **SETTINGS)
        try:
            url = program.until(r"Everything is up.*export KNOUDS_API_URL=(\S+)")[1]
            api = Recorder(url)
            for part in (
                _enqueue,
                _act,
                _operate,
                _hear_back,
                _account,
                _cap,
                _batch,
                _schedule,
                _observe,
            ):
                part(api)
        finally:
            program.end()
    return api.examples


if __name__ == "__main__":
    found = dict(sorted(record().items()))
    text = json.dumps(found, indent=1, ensure_ascii=False)
    EXAMPLES_FILE.write_text(re.sub(rf"\b{re.escape(gethostname())}\b", HOST, text) + "\n")
    sys.stdout.write(f"{len(found)} operations in {EXAMPLES_FILE.name}\n")
