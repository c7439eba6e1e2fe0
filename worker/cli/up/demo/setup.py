"""What the demo works with: the API that it calls, and the sandbox that it prepares."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from worker.cli.exit_codes import CommandFailure
from worker.cli.text import Doc
from worker.cli.up.demo.scenarios import DemoScenario
from worker.cli.up.plan import STUDIO_KEY, DemoAccounts

ADMIN_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """The addresses, accounts and batch of one demo."""

    url: str
    token: str | None
    sandbox_url: str
    accounts: DemoAccounts
    batch: str = field(default_factory=lambda: f"demo-{secrets.token_hex(3)}")

    def job_id(self, scenario: DemoScenario) -> str:
        """The id of a scenario's job, and its label in the sandbox's ledger."""
        return f"{self.batch}-{scenario.name}"

    def job_request(self, scenario: DemoScenario) -> Doc:
        """A scenario as a job request."""
        job_id = self.job_id(scenario)
        return {
            "id": job_id,
            "kind": scenario.kind,
            "target": scenario.target,
            "account": self.accounts.studio if scenario.uses_studio_account else self.accounts.demo,
            "batch": self.batch,
            "tags": ["demo"],
            "inputs": {
                "prompt": scenario.shows,
                "sandbox": {"label": job_id, **scenario.sandbox_options},
            },
            **scenario.request_fields,
        }

    async def prepare_sandbox(self) -> None:
        """Set the credits of one account and the trial runs of the other to 0."""
        await self._admin("topup", {"key": STUDIO_KEY, "balance": 0})
        await self._admin("grants", {"model": "hailuo-trial", "runs": 0})

    async def execution_of(self, job_id: str) -> str | None:
        """The execution that a job started, as an operator finds it in the provider's dashboard."""
        found = await self._admin("executions", None, {"label": job_id})
        return str(found["items"][-1]["id"]) if found["items"] else None

    def admin_command(self, path: str, body: Doc) -> str:
        """An admin call as a command to copy."""
        return f"curl -s {self.sandbox_url}/_sandbox/{path} -d '{json.dumps(body)}'"

    async def _admin(self, path: str, body: Doc | None, query: Doc | None = None) -> Doc:
        timeout = aiohttp.ClientTimeout(total=ADMIN_TIMEOUT_S)
        method = "GET" if body is None else "POST"
        url = f"{self.sandbox_url}/_sandbox/{path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as http,
                http.request(method, url, json=body, params=query) as response,
            ):
                doc: Doc = await response.json()
                return doc
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CommandFailure(
                f"the sandbox did not answer {path} ({type(error).__name__})"
            ) from None
