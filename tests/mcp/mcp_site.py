"""The whole program with tokens of each role, and servers of tools in front of it."""

import json
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.cli.command_runner import command_line, environ
from tests.engine.live_system import wait_until

SECRETS = {role: f"{role}-0123456789abcdef" for role in ("enqueue", "watch", "read", "operate")}
SECRETS["other"] = "other-0123456789abcdef"
TOKENS = ",".join(
    f"{name}:{'operate' if name == 'other' else name}:{secret}" for name, secret in SECRETS.items()
)

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class McpSite:
    """The running program, and the address of its tools over HTTP."""

    api_url: str
    tools_url: str
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    """A tag that no other test uses."""

    @asynccontextmanager
    async def client(
        self, role: str = "operate", url: str = "", *, mode: str = "auto"
    ) -> AsyncGenerator["ToolClient"]:
        """A client of the tools over HTTP, with the token of a role."""
        headers = {"Authorization": f"Bearer {SECRETS[role]}"} if role else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(
                streamable_http_client(url or self.tools_url, http_client=http), mode=mode
            ) as opened,
        ):
            yield ToolClient(opened)

    async def call_api(self, method: str, path: str, body: object = None) -> Doc:
        """A call of the API itself, by an operator."""
        headers = {"Authorization": f"Bearer {SECRETS['operate']}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(method, self.api_url + path, json=body) as response,
        ):
            found: Doc = await response.json()
            assert response.ok, found
            return found

    async def job(self, *, until: str = "", **fields: Any) -> str:
        """A job with the tag of this test; with `until`, as soon as it is in that state."""
        behaviour = {"label": uuid.uuid4().hex, "duration_s": 0.1, **fields.pop("sandbox", {})}
        request = {
            "kind": "model",
            "target": "gpt-image-2",
            "tags": [self.name],
            "inputs": {"prompt": "a cat", "sandbox": behaviour},
            **fields,
        }
        job_id = (await self.call_api("POST", "/v1/jobs", request))["id"]
        if until:
            job = await self.call_api("GET", f"/v1/jobs/{job_id}/wait?timeout_s=20")
            assert job["state"] == until, job
        return str(job_id)

    async def parked(self) -> str:
        """A job that an operator parked."""
        job_id = await self.job(delay_s=3_600)
        await self.call_api("POST", f"/v1/jobs/{job_id}/park", {"note": "first"})
        return job_id

    async def dead(self) -> str:
        """A dead letter."""
        return await self.job(until="dead", sandbox={"fault": "INVALID_INPUTS"})

    async def uncertain(self) -> str:
        """A job whose submit has an unknown outcome, and a first finding."""
        job_id = await self.job(until="parked", sandbox={"fault": "drop_after", "times": 1})

        async def is_read() -> bool:
            return (await self.call_api("GET", f"/v1/jobs/{job_id}"))["finding"] is not None

        await wait_until(is_read, "a finding")
        return job_id

    async def state(self, job_id: str) -> str:
        return str((await self.call_api("GET", f"/v1/jobs/{job_id}"))["state"])


@dataclass(frozen=True, slots=True)
class ToolClient:
    """A client of the SDK, which checks each answer against the schema of its tool."""

    client: Client

    async def names(self) -> set[str]:
        return {tool.name for tool in (await self.client.list_tools()).tools}

    async def call(self, tool: str, **arguments: Any) -> Doc:
        """The answer of a tool, which must be no error."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        found: Doc = result.structured_content
        (text,) = result.content
        assert text.type == "text"
        assert json.loads(text.text) == found
        return found

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """Why a tool refuses a call."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.content
        assert result.structured_content is None
        (text,) = result.content
        assert text.type == "text"
        return text.text

    async def confirmed(self, tool: str, **arguments: Any) -> Doc:
        """Make the dry run, and act with its token."""
        token = (await self.call(tool, **arguments))["confirm"]
        return await self.call(tool, **arguments, confirm=token)


def stdio_server(api_url: str, *options: str, role: str = "operate") -> StdioServerParameters:
    """The command as an assistant starts it, with the token of a role."""
    settings = {"KNOUDS_API_URL": api_url, "KNOUDS_API_TOKEN": SECRETS[role]}
    return StdioServerParameters(
        command=sys.executable,
        args=[*command_line("mcp", *options)[1:]],
        env=environ(**settings),
    )
