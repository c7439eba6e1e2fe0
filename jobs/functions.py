"""The arq functions. Their names and signatures are the public contract of the arq queue.

An app that has only arq enqueues `run_model` or `run_workflow`; such a job then has the same
lifecycle as every other. `submit` is the worker's own wake-up and carries ids and tokens only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from jobs.states import Kind


class ArqIngressPort(Protocol):
    """Enqueues jobs that an app put on the arq queue."""

    async def adopt(
        self,
        kind: Kind,
        target: object,
        inputs: object,
        arq_id: str,
        options: dict[str, Any],
    ) -> str:
        """Enqueue the job and return its id. A request that is not valid becomes a dead letter."""
        ...

    async def quarantine(self, arq_id: str, payload: str, why: str) -> str:
        """Keep an unreadable arq entry as a dead letter, and return the id of that job."""
        ...


class SubmitPort(Protocol):
    """Submits admitted jobs."""

    async def submit(self, submits: Sequence[tuple[str, str]]) -> None:
        """Submit each `(job id, submit token)` whose token is still the job's; skip the others."""
        ...


Context = Mapping[str, Any]
"""arq's context: the worker adds `arq_ingress` and `submitter` at its start, arq adds `job_id`."""


async def run_model(ctx: Context, target: object, inputs: object, **options: Any) -> str:
    """Enqueue a run of a model and return the job's id, which is arq's `_job_id`.

    `target` is the model's internal name, `inputs` a JSON object.

    Options: `priority`, `tags`, `batch`, `run_at` or `delay_s`, `max_attempts`, `deadline_s`,
    `on_uncertain`, `account`, as in `POST /v1/jobs`.
    """
    ingress = cast("ArqIngressPort", ctx["arq_ingress"])
    return await ingress.adopt(Kind.MODEL, target, inputs, ctx["job_id"], options)


async def run_workflow(ctx: Context, target: object, inputs: object, **options: Any) -> str:
    """Enqueue a run of a workflow. `target` is its slug; the rest is as in `run_model`."""
    ingress = cast("ArqIngressPort", ctx["arq_ingress"])
    return await ingress.adopt(Kind.WORKFLOW, target, inputs, ctx["job_id"], options)


async def submit(ctx: Context, *ids_and_tokens: str) -> None:
    """Submit admitted jobs, given as `job id, submit token, job id, submit token …`.

    A job whose token has changed meanwhile is skipped. Jobs that were admitted together share one
    arq entry, which costs as much as an entry for one job.
    """
    submitter = cast("SubmitPort", ctx["submitter"])
    await submitter.submit(list(zip(ids_and_tokens[::2], ids_and_tokens[1::2], strict=True)))


async def quarantine(ctx: Context, payload: str, why: str) -> str:
    """Keep an unreadable entry as a dead letter. The deserializer turns such entries into calls."""
    ingress = cast("ArqIngressPort", ctx["arq_ingress"])
    return await ingress.quarantine(ctx["job_id"], payload, why)
