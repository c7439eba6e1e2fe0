"""The arq functions. Names and signatures are the public contract of the arq queue.

An app that has only arq enqueues `run_model` or `run_workflow`; the worker adopts such a job into
the same road as every other. `submit` is the worker's own hop and carries ids only.
"""

from collections.abc import Mapping
from typing import Any, cast

from jobs.ports import ArqIngressPort, SubmitPort
from jobs.states import Kind

Context = Mapping[str, Any]
"""arq's context: `arq_ingress` and `submitter` are put there at start-up, `job_id` by arq."""


async def run_model(ctx: Context, target: object, inputs: object, **options: Any) -> str:
    """Run a model. `target` is its internal name, `inputs` a JSON object.

    Options: `priority`, `tags`, `batch`, `run_at` or `delay_s`, `max_attempts`, `deadline_s`,
    `on_uncertain`, `account`, as in `POST /v1/jobs`. The job's id is arq's `_job_id`; it is also
    what the function returns.
    """
    ingress = cast("ArqIngressPort", ctx["arq_ingress"])
    return await ingress.adopt(Kind.MODEL, target, inputs, ctx["job_id"], options)


async def run_workflow(ctx: Context, target: object, inputs: object, **options: Any) -> str:
    """Run a workflow. `target` is its slug; everything else as in `run_model`."""
    ingress = cast("ArqIngressPort", ctx["arq_ingress"])
    return await ingress.adopt(Kind.WORKFLOW, target, inputs, ctx["job_id"], options)


async def submit(ctx: Context, *ids_and_tokens: str) -> None:
    """Submit admitted jobs: `job, hop, job, hop …`, each if its hop is still its fence.

    Jobs that were admitted together share an entry: arq's cost of one is paid once for all.
    """
    submitter = cast("SubmitPort", ctx["submitter"])
    await submitter.submit(list(zip(ids_and_tokens[::2], ids_and_tokens[1::2], strict=True)))


async def quarantine(ctx: Context, payload: str, why: str) -> str:
    """Keep an entry that could not be read: what the deserializer makes of one."""
    ingress = cast("ArqIngressPort", ctx["arq_ingress"])
    return await ingress.quarantine(ctx["job_id"], payload, why)
