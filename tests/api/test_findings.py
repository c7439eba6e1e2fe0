"""Findings over HTTP: on the job, in groups, as a filter, and in the bulk resubmit."""

from typing import Any

import msgspec
import pytest

from jobs import transitions
from jobs.evidence.records import EvidenceFinding, UncertainSubmit
from jobs.job import Job
from jobs.states import State
from jobs.usage import UsageRow
from tests.api.checked_api import CheckedApi
from tests.api.job_factory import JobFactory
from tests.store.redis_contents import latest_audit_entries
from worker.store import Store
from worker.store.evidence import ReconcileOff


async def uncertain(
    job_factory: JobFactory,
    job_id: str,
    finding: EvidenceFinding,
    *,
    age_s: float = 1.0,
    **facts: Any,
) -> Job:
    """A job parked as uncertain, with a finding that was made some seconds ago."""
    await job_factory.submitting(job_id)
    now = job_factory.clock.now()
    await job_factory.transition(
        job_id, lambda job: transitions.park_uncertain(job, now, why="lost")
    )

    def found(submit: UncertainSubmit) -> UncertainSubmit:
        return msgspec.structs.replace(
            submit, finding=finding, is_final=True, checked_at=now - age_s, **facts
        )

    return await job_factory.transition(
        job_id,
        lambda job: transitions.record_findings(
            job, now, tuple(found(submit) for submit in job.uncertain_submits)
        ),
    )


async def test_why_shows_the_finding_with_its_rows_and_the_execution_to_attach(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    """A webhook reported a run with the request id of the row: its execution id is offered."""
    row = UsageRow(id=7, status="completed", credits=8.0, request_id="r-7", created_at=1e9)
    await uncertain(job_factory, "a", EvidenceFinding.STARTED, rows=(row,))
    await job_factory.orphan_run("ex-7", "r-7")
    evidence = (await api.get("/v1/jobs/a/why")).json["evidence"]
    assert evidence["finding"] == "started"
    assert evidence["checked_at"] is not None
    (shown,) = evidence["rows"]
    assert (shown["id"], shown["credits"], shown["execution_id"]) == (7, 8.0, "ex-7")
    assert (await api.get("/v1/jobs/a")).json["finding"] == "started"


async def test_groups_count_findings_and_lists_filter_by_them(
    api: CheckedApi, job_factory: JobFactory
) -> None:
    await uncertain(job_factory, "a", EvidenceFinding.NOT_STARTED)
    await uncertain(job_factory, "b", EvidenceFinding.NOT_STARTED)
    await uncertain(job_factory, "c", EvidenceFinding.AMBIGUOUS)
    (group,) = (await api.get("/v1/groups?state=parked")).json["items"]
    assert group["findings"] == {"not_started": 2, "ambiguous": 1}
    listed = (await api.get("/v1/jobs?finding=not_started")).json["items"]
    assert {job["id"] for job in listed} == {"a", "b"}


async def test_a_bulk_resubmit_sends_only_what_did_not_start(
    api: CheckedApi, job_factory: JobFactory, store: Store
) -> None:
    await uncertain(job_factory, "a", EvidenceFinding.NOT_STARTED)
    await uncertain(job_factory, "b", EvidenceFinding.STARTED)
    wanted = {"filter": {"state": "parked", "finding": "not_started"}}
    preview = (await api.post("/v1/bulk/resubmit", {**wanted, "dry_run": True})).json
    assert (preview["matched"], preview["done"]) == (1, 1)
    done = (await api.post("/v1/bulk/resubmit", wanted)).json
    assert (done["matched"], done["done"]) == (1, 1)
    found = await store.jobs.load_many(["a", "b"])
    assert [one.job.state for one in found if one] == [State.QUEUED, State.PARKED]
    assert (await latest_audit_entries(store, 1))[0]["act"] == "bulk_resubmit"


async def test_an_old_finding_is_read_again_before_a_job_is_sent(
    api: CheckedApi, job_factory: JobFactory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker that reads it, the job stays parked and is due to be compared."""
    monkeypatch.setattr("worker.app.evidence_refresh.REFRESH_WAIT_S", 0.0)
    await uncertain(job_factory, "a", EvidenceFinding.NOT_STARTED, age_s=301.0)
    counts = (await api.post("/v1/bulk/resubmit", {"filter": {"finding": "not_started"}})).json
    assert (counts["done"], counts["skipped"]) == (0, 1)
    stored = await store.jobs.load("a")
    assert stored is not None
    assert stored.job.state is State.PARKED
    submit = stored.job.last_uncertain_submit
    assert submit is not None
    assert submit.check_at == pytest.approx(job_factory.clock.now(), abs=30)


async def test_reconcile_that_was_switched_off_is_shown_and_switched_on_again(
    api: CheckedApi, store: Store
) -> None:
    await store.evidence.switch_reconcile_off(ReconcileOff("default", 1_790_000_000.0, "a", 7))
    (off,) = (await api.get("/v1/stats")).json["reconcile_off"]
    assert (off["account"], off["job_id"], off["row_id"]) == ("default", "a", 7)
    path = "/v1/accounts/default/reconcile-on"
    assert (await api.post(path, {"note": "raised"})).json == {
        "account": "default",
        "was_off": True,
    }
    assert (await api.post(path, {})).json["was_off"] is False
    assert (await api.get("/v1/stats")).json["reconcile_off"] == []
    (entry,) = await latest_audit_entries(store, 1)
    assert (entry["act"], entry["on"], entry["note"]) == ("reconcile_on", "default", "raised")
