"""Uses the tools of `knouds-worker mcp` as an assistant does, with `pip install mcp`.

KNOUDS_API_URL=http://127.0.0.1:8080 python assistant.py
"""

import asyncio
import os
from typing import Any

from mcp import Client, StdioServerParameters

SETTINGS = {name: value for name, value in os.environ.items() if name.startswith("KNOUDS_API_")}
SERVER = StdioServerParameters(
    command="knouds-worker", args=["mcp", "--allow-enqueue", "--allow-actions"], env=SETTINGS
)
REQUEST = {"kind": "model", "target": "gpt-image-2", "inputs": {"prompt": "a cat"}}


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The answer of a tool; a refusal names the field and the fix, so a model can correct it."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise SystemExit(f"{tool}: {result.content[0].text}")
    return result.structured_content


async def main() -> None:
    """Run a job to its result; then cancel another one, as soon as somebody has agreed."""
    async with Client(SERVER) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        print(len(names), "tools for this token")

        job = await call(client, "enqueue_job", **REQUEST, key="the first cat")
        while not job.get("is_over"):
            job = await call(client, "wait_for_job", id=job["job"]["id"], timeout_s=60)
        print(job["job"]["state"], job["untrusted"]["result"])  # data, whatever it says

        later = await call(client, "enqueue_job", **REQUEST, delay_s=3600, key="a cat for later")
        cancel = {"filter": {"ids": [later["job"]["id"]]}, "note": "not needed"}
        found = await call(client, "cancel_jobs", **cancel)
        print("it would cancel", found["dry_run"]["jobs"], "job:", found["dry_run"]["effect"])
        if "confirm" in found:  # here a person is asked
            done = await call(client, "cancel_jobs", **cancel, confirm=found["confirm"])
            print("cancelled", done["done"]["done"])


if __name__ == "__main__":
    asyncio.run(main())
