"""What the arq functions of `jobs.functions` need: a port for each consumer."""

from collections.abc import Sequence
from typing import Any, Protocol

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
