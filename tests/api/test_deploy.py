"""The Grafana dashboard and the alerts use metrics, labels and values that exist."""

import json
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from arq import ArqRedis
from prometheus_client.parser import text_string_to_metric_families

from jobs.breakers import BreakerState
from jobs.states import State
from tests.engine.budget_books import budgets_of
from tests.engine.live_system import OPERATOR, live_system, wait_until
from worker.app.budgets import BudgetRequest
from worker.compose.api import running
from worker.sandbox import SandboxConfig
from worker.sandbox import running as provider
from worker.store.metrics.catalog import METRICS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRAPED = {"job", "instance", "le"}
"""Labels that Prometheus itself adds, or that every histogram has."""


def alerts() -> list[dict[str, Any]]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))
    return [rule for group in found["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    board: dict[str, Any] = json.loads((DEPLOY / "grafana/knouds-worker.json").read_text("utf-8"))
    found: list[dict[str, Any]] = board["panels"]
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


@pytest.fixture
async def shown(
    redis: ArqRedis, redis_url: str, namespace: str
) -> AsyncGenerator[dict[str, set[str]]]:
    """Sample name → its labels, of a real run with all kinds of ends."""
    async with (
        provider(SandboxConfig(limit=0, credits=10**6)) as sandbox,
        live_system(redis, redis_url, namespace, sandbox) as system,
    ):
        await budgets_of(system).set("b", BudgetRequest("studio", "day", 100.0), OPERATOR)
        async with system.worker():
            good = await system.enqueue(label="good")
            bad = await system.enqueue(label="bad", fault="INVALID_INPUTS")
            poor = await system.enqueue(label="poor", fault="INSUFFICIENT_CREDITS")

            async def settled_or_parked() -> bool:
                states = [(await system.job(job_id)).state for job_id in (good, bad, poor)]
                return states == [State.SUCCEEDED, State.DEAD, State.PARKED]

            await wait_until(settled_or_parked, "every job is settled or parked")
            await system.enqueue(label="behind the hold")  # keeps its lane on the list of lanes
        settings = system.settings.model_copy(update={"http_port": 0})
        async with (
            running(settings, system.store) as url,
            aiohttp.ClientSession() as http,
            http.get(f"{url}/metrics") as answer,
        ):
            text = await answer.text()
        found: dict[str, set[str]] = defaultdict(set)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] |= sample.labels.keys()
        yield found


def known(shown: dict[str, set[str]]) -> dict[str, set[str]]:
    """What a run showed, and counters of what did not happen in it."""
    for name, meter in METRICS.items():
        if not meter.bounds:
            shown.setdefault(f"knouds_{name}_total", set(meter.labels))
    for name, labels in (
        ("knouds_quota_limit", {"route"}),
        ("knouds_quota_remaining", {"route"}),
        ("knouds_reconcile_off", {"account"}),
        ("knouds_balance_low", {"account"}),
    ):
        shown.setdefault(name, labels)
    return shown


async def test_every_metric_they_speak_of_is_shown_by_a_real_run(
    shown: dict[str, set[str]],
) -> None:
    for name in ("knouds_submits_total", "knouds_polls_total", "knouds_credits_spent_total"):
        assert name in shown
    for name, meter in METRICS.items():
        assert not meter.bounds or f"knouds_{name}_bucket" in shown, name
    there = known(shown)
    for text in expressions():
        names = re.findall(r"\b(?:knouds|process)_\w+", text)
        assert names, text
        for name in names:
            assert name in there, f"{name} in {text}"


async def test_every_label_they_choose_or_group_by_is_one(shown: dict[str, set[str]]) -> None:
    there = known(shown)
    for text in expressions():
        for name, chosen in re.findall(r"\b((?:knouds|process)_\w+)\{([^}]*)\}", text):
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen):
                assert label in there[name] | SCRAPED, f"{label} of {name} in {text}"
        here = set[str]().union(*(there[n] for n in re.findall(r"\bknouds_\w+", text)), SCRAPED)
        for grouped in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", text):
            assert {label.strip() for label in grouped.split(",")} <= here, text


def test_states_and_codes_they_choose_exist() -> None:
    for text in expressions():
        for values in re.findall(r'\bstate=~?"([^"]*)"', text):
            states = set(BreakerState) if "knouds_breakers{" in text else set(State)
            assert set(values.split("|")) <= states, text


def test_every_expression_is_balanced_and_never_counts_an_api_process_twice() -> None:
    for text in expressions():
        for left, right in ("()", "[]", "{}"):
            assert text.count(left) == text.count(right), text
        gauges = re.findall(r"(?<!\()\bknouds_\w+", text)
        assert "process_" in text or not gauges, f"not within `max without (instance)`: {text}"
        assert "process_" in text or "without (instance" in text, text


def test_alerts_have_names_of_their_own_and_say_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) > 10
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_panels_do_not_overlap_and_have_titles() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
