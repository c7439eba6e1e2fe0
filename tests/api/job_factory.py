"""Jobs in any state without a worker: transitions of the core, committed through the store."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from jobs import transitions
from jobs.holds import Hold
from jobs.job import Job, Reason
from jobs.lanes import JobId
from jobs.outcomes import Accepted, Finished, ProviderError
from jobs.requests import JobRequest, new_job
from jobs.states import Kind
from jobs.workflows import InputField, Workflow, WorkflowList, WorkflowSchema
from worker.clock import SystemClock
from worker.store import Store
from worker.store.commit import VersionedJob
from worker.store.side_writes import SideWrites
from worker.store.webhooks import Orphan

NO_CREDITS = ProviderError("INSUFFICIENT_CREDITS", "balance too low", http_status=402)
INVALID_INPUTS = ProviderError("INVALID_INPUTS", "prompt is missing", http_status=400)


TAKES = WorkflowSchema(
    (InputField(name="image", type="string", needed=True), InputField(name="prompt")),
    is_complete=True,
)
"""What workflow `shots` takes."""


@dataclass(frozen=True, slots=True)
class JobFactory:
    """Jobs in the states a test needs."""

    store: Store
    clock: SystemClock

    async def queued(self, job_id: str = "job", **facts: object) -> Job:
        job_request = JobRequest(
            kind=Kind.MODEL, target="gpt-image-2", inputs=b'{"prompt":"a cat"}'
        )
        now = self.clock.now()
        made = new_job(job_request, JobId(job_id), now, max_attempts=5, deadline_s=60.0)
        job = msgspec.structs.replace(made, **facts)
        stored = await self.store.jobs.create(job, job_request.inputs)
        assert stored is not None
        return stored.job

    async def submitting(self, job_id: str = "job", **facts: object) -> Job:
        await self.queued(job_id, **facts)
        return await self.submit(job_id)

    async def submit(self, job_id: str) -> Job:
        """Let a queued job be sent."""
        now = self.clock.now()
        await self.transition(
            job_id,
            lambda job: transitions.admit(
                job, now, submit_token="h", lease_until=now + 10, opening_hold_ids=()
            ),
        )
        return await self.transition(
            job_id, lambda job: transitions.send(job, now, owner="w", lease_until=now + 10)
        )

    async def running(self, job_id: str = "job", **facts: object) -> Job:
        await self.submitting(job_id, **facts)
        return await self.accept(job_id)

    async def accept(self, job_id: str) -> Job:
        """Let the run of a sent job begin."""
        run = "exec-1" if job_id == "job" else f"exec-{job_id.replace('~', '-')}"
        now, answer = self.clock.now(), Accepted(run, "req-1")
        return await self.transition(
            job_id, lambda job: transitions.accept(job, now, answer, next_poll_at=now + 60)
        )

    async def succeeded(
        self, job_id: str = "job", result: bytes = b'{"url": "https://x"}', **facts: object
    ) -> Job:
        await self.running(job_id, **facts)
        return await self.succeed(job_id, result)

    async def succeed(self, job_id: str, result: bytes = b"{}") -> Job:
        """Let a running job succeed."""
        done = Finished(result, cost=0.5)
        now = self.clock.now()
        extra = SideWrites(result=result)
        return await self.transition(
            job_id, lambda job: transitions.succeed(job, now, done, polls=2), extra
        )

    async def retrying(self, job_id: str = "job") -> Job:
        await self.running(job_id)
        now, fault = self.clock.now(), ProviderError("EXECUTION_FAILED", "no luck", http_status=500)
        return await self.transition(
            job_id, lambda job: transitions.retry(job, now, fault, due_at=now + 60)
        )

    async def dead(self, job_id: str = "job", **facts: object) -> Job:
        await self.submitting(job_id, **facts)
        now = self.clock.now()
        reason = Reason(
            code=INVALID_INPUTS.display_code,
            http_status=400,
            message=INVALID_INPUTS.message,
            action="Fix, requeue",
        )
        return await self.transition(
            job_id, lambda job: transitions.dead_letter(job, now, INVALID_INPUTS, reason)
        )

    async def held(self, job_id: str = "job", hold: Hold | None = None, **facts: object) -> Job:
        """Parked by a 402."""
        await self.submitting(job_id, **facts)
        now = self.clock.now()
        reason = Reason(
            code=NO_CREDITS.display_code,
            http_status=402,
            message=NO_CREDITS.message,
            action="Top up, then release",
            action_url="https://knouds.ai/settings/billing",
            hold_id=hold.id if hold else None,
        )
        return await self.transition(
            job_id, lambda job: transitions.park_refused(job, now, NO_CREDITS, reason)
        )

    async def uncertain(self, job_id: str = "job", cause: str = "") -> Job:
        await self.submitting(job_id)
        now = self.clock.now()
        return await self.transition(
            job_id, lambda job: transitions.park_uncertain(job, now, why="timeout", cause=cause)
        )

    async def stuck(self, job_id: str = "job") -> Job:
        await self.running(job_id)
        now = self.clock.now()
        return await self.transition(
            job_id, lambda job: transitions.park_stuck(job, now, next_poll_at=now + 60)
        )

    async def orphan_run(self, execution_id: str, request_id: str = "r-1") -> None:
        """A run that a webhook reported and that belongs to no job."""
        now, store = self.clock.now(), self.store
        orphan = Orphan(
            execution_id=execution_id,
            event="execution.completed",
            received_at=now,
            targets=("model/gpt-image-2",),
            request_id=request_id,
        )
        await store.client.call(
            "HSET", store.keys.delivery(execution_id), "orphan", msgspec.json.encode(orphan)
        )
        await store.client.call("ZADD", store.keys.orphans, now, execution_id)

    async def list_workflows(
        self, *, at: float | None = None, complete: bool = True, schema: WorkflowSchema = TAKES
    ) -> None:
        """What a worker has read: workflow `shots` needs an image, and `old` is archived."""
        at = self.clock.now() if at is None else at
        shots, old = Workflow(slug="shots", price=16.0), Workflow(slug="old", archived=True)
        listed = WorkflowList((shots, old), is_complete=complete)
        await self.store.workflows.write_list("default", listed, at)
        await self.store.workflows.write_schema("default", "shots", schema, at)

    async def ran(self, target: str, *, cost: float) -> None:
        """A run of a `kind/target` that cost so many credits, for estimates."""
        self.store.costs.note(target, cost)
        await self.store.costs.write_noted()

    async def transition(
        self, job_id: str, change: Callable[[Job], Job], extra: SideWrites | None = None
    ) -> Job:
        """Commit one transition."""
        stored = await self.store.jobs.load(job_id)
        assert stored is not None
        written = await self.store.jobs.commit(stored, change(stored.job), extra or SideWrites())
        assert isinstance(written, VersionedJob)
        return written.job
