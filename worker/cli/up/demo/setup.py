"""What the demo works with: the API it sends to, and the sandbox it arranges beforehand."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from worker.cli.exit_codes import CommandFailure
from worker.cli.up.demo.scenarios import DemoScenario
from worker.cli.up.plan import STUDIO_KEY, DemoAccounts

Doc = dict[str, Any]

ADMIN_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """Where one demo plays. Every start has names of its own."""

    url: str
    token: str | None
    sandbox_url: str
    accounts: DemoAccounts
    batch: str = field(default_factory=lambda: f"demo-{secrets.token_hex(3)}")

    def job_id(self, scenario: DemoScenario) -> str:
        """The id of a scene's job, also its label in the sandbox's ledger."""
        return f"{self.batch}-{scenario.name}"

    def job_request(self, scenario: DemoScenario) -> Doc:
        """A scene as an order."""
        name = self.job_id(scenario)
        return {
            "id": name,
            "kind": scenario.kind,
            "target": scenario.target,
            "account": self.accounts.studio if scenario.uses_studio_account else self.accounts.demo,
            "batch": self.batch,
            "tags": ["demo"],
            "inputs": {
                "prompt": scenario.shows,
                "sandbox": {"label": name, **scenario.sandbox_options},
            },
            **scenario.request_fields,
        }

    async def prepare_sandbox(self) -> None:
        """Take the credits from one account and the trial runs from the other."""
        await self._admin("topup", {"key": STUDIO_KEY, "balance": 0})
        await self._admin("grants", {"model": "hailuo-trial", "runs": 0})

    async def execution_of(self, job_id: str) -> str | None:
        """What a person finds in the provider's dashboard: the run that a label started."""
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
                http.request(method, url, json=body, params=query) as answer,
            ):
                doc: Doc = await answer.json()
                return doc
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CommandFailure(
                f"the sandbox did not answer {path} ({type(error).__name__})"
            ) from None
