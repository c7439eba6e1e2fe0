"""What the arq functions need from the shell, cut by consumer."""

from collections.abc import Sequence
from typing import Any, Protocol

from jobs.states import Kind


class ArqIngressPort(Protocol):
    """Takes a job that an app enqueued with plain arq."""

    async def adopt(
        self,
        kind: Kind,
        target: object,
        inputs: object,
        arq_id: str,
        options: dict[str, Any],
    ) -> str:
        """Put it on the road and return its job id; bad input becomes a dead letter."""
        ...

    async def quarantine(self, arq_id: str, payload: str, why: str) -> str:
        """Keep an arq entry that nobody can read as a dead letter."""
        ...


class SubmitPort(Protocol):
    """Performs the submit step."""

    async def submit(self, submits: Sequence[tuple[str, str]]) -> None:
        """Submit each job if its hop is still the one that may; otherwise do nothing for it."""
        ...
