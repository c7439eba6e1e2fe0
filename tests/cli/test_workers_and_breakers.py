"""`drain` and `breakers`: what they print, and what they ask the API for."""

import json
from collections.abc import Callable

import pytest

from tests.cli.command_runner import Doc
from tests.cli.conftest import CannedServer, Cli
from worker.cli.exit_codes import ExitCode

BareCli = Callable[[dict[str, str]], Cli]

WORKER: Doc = {
    "id": "host-1-ab12",
    "host": "host",
    "pid": 1,
    "started_at": "2026-01-31T18:00:00.000Z",
    "seen_at": "2026-01-31T18:00:00.000Z",
    "submitting": 0,
    "sync_runs": 0,
    "polling": 3,
    "stopping": False,
    "drained": True,
    "failures": {},
}
BREAKER: Doc = {
    "id": "breaker-1",
    "scope": "default/model",
    "cause": "unknown_outcome",
    "state": "open",
    "text": "default/model: submits end with an unknown outcome – HTTP 502; nothing is sent;"
    " next probe due now",
    "action": "Nothing: it is probed by itself",
    "since": "2026-01-31T18:00:00.000Z",
    "last_error": {"code": "uncertain", "http_status": 502, "message": "HTTP 502", "at": None},
    "failures": 2,
    "trips": 1,
    "next_probe_at": "2026-01-31T18:00:30.000Z",
    "step": 0,
    "workers": [],
    "queued": 950,
}
STATS: Doc = {"states": {}, "oldest": {}, "lanes": [], "quota": [], "holds": 0, "rates": {}}


@pytest.mark.parametrize("words", [("drain",), ("drain", "host-1-ab12", "--all")])
def test_a_drain_needs_either_workers_or_all(bare_cli: BareCli, words: tuple[str, ...]) -> None:
    done = bare_cli({})(*words)
    assert done.code == ExitCode.USAGE
    assert "either workers" in done.err


@pytest.mark.parametrize("words", [("host-1-ab12",), ("host",), ("--all",)])
def test_a_worker_is_drained_by_id_host_or_with_all(
    answering: CannedServer, bare_cli: BareCli, words: tuple[str, ...]
) -> None:
    url = answering(200, json.dumps({**WORKER, **STATS, "workers": [WORKER]}))
    done = bare_cli({"KNOUDS_API_URL": url})("drain", *words, "--wait", "--note", "deploy")
    assert done.code == ExitCode.OK
    assert "host-1-ab12: drained, 0 submits and 0 sync runs left" in done.out
    assert "nothing is left" in done.out
    assert "start one" in done.err, "no other worker takes jobs"
    assert ("/v1/workers/host-1-ab12/drain", {"note": "deploy"}) in answering.requests


def test_a_drain_is_undone_by_its_option(answering: CannedServer, bare_cli: BareCli) -> None:
    url = answering(200, json.dumps({**WORKER, **STATS, "workers": [WORKER]}))
    cli = bare_cli({"KNOUDS_API_URL": url})
    done = cli("drain", "--undo", "host", "--note", "the wrong one")
    assert done.out == "host-1-ab12: takes new jobs again\n"
    assert ("/v1/workers/host-1-ab12/drain", {"note": "the wrong one"}) in answering.requests
    assert cli("drain", "--undo", "--wait", "--all").code == ExitCode.USAGE


def test_a_drain_of_no_worker_names_those_that_run(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    url = answering(200, json.dumps({**STATS, "workers": [WORKER]}))
    done = bare_cli({"KNOUDS_API_URL": url})("drain", "other")
    assert done.code == ExitCode.FAILED
    assert "host-1-ab12" in done.err


def test_no_worker_is_taken_for_gone_while_redis_refuses(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    refusal = {"reason": "OOM", "text": "Redis is full (OOM)", "action": "Raise maxmemory"}
    unknown = json.dumps({**STATS, "workers": [], "redis_refuses": [refusal]})
    known = json.dumps({**WORKER, **STATS, "workers": [WORKER]})
    for url in (answering(200, unknown), answering(200, known, known, unknown)):
        done = bare_cli({"KNOUDS_API_URL": url})("drain", "host", "--wait")
        assert done.code == ExitCode.FAILED
        assert "Redis is full (OOM). Raise maxmemory" in done.err
        assert "nothing is left" not in done.out
    worker = {**WORKER, "drained": False}
    url = answering(200, json.dumps({**STATS, "workers": [worker], "redis_refuses": [refusal]}))
    shown = bare_cli({"KNOUDS_API_URL": url})("stats").out
    assert "has a problem" in shown
    assert "working" not in shown


def test_stats_show_workers_and_breakers(answering: CannedServer, bare_cli: BareCli) -> None:
    url = answering(200, json.dumps({**STATS, "workers": [WORKER], "breakers": 1}))
    done = bare_cli({"KNOUDS_API_URL": url})("stats")
    assert "drained" in done.out
    assert "1 breaker" in done.out


def test_breakers_are_listed_with_cause_probe_and_command(
    answering: CannedServer, bare_cli: BareCli
) -> None:
    url = answering(200, json.dumps({"items": [BREAKER], "next_cursor": None}))
    done = bare_cli({"KNOUDS_API_URL": url})("breakers", "ls")
    assert done.code == ExitCode.OK
    for words in ("950 jobs queued", "HTTP 502", "next probe due now", "breakers probe breaker-1"):
        assert words in done.out


def test_no_breaker_is_good_news(answering: CannedServer, bare_cli: BareCli) -> None:
    url = answering(200, json.dumps({"items": [], "next_cursor": None}))
    assert "no breakers" in bare_cli({"KNOUDS_API_URL": url})("breakers", "ls").out


@pytest.mark.parametrize("action", ["probe", "reset"])
def test_a_breaker_is_probed_and_reset_by_its_id(
    answering: CannedServer, bare_cli: BareCli, action: str
) -> None:
    url = answering(200, json.dumps(BREAKER))
    done = bare_cli({"KNOUDS_API_URL": url})("breakers", action, "breaker-1", "--note", "mended")
    assert done.out.startswith("breaker-1: default/model: submits end")
    assert answering.requests == [(f"/v1/breakers/breaker-1/{action}", {"note": "mended"})]
