"""The sandbox's own reports, without a key and without a limit."""

from dataclasses import dataclass
from typing import Any

import aiohttp


async def admin_get(url: str, what: str) -> dict[str, Any]:
    """`state`, `ledger` or `executions?…` of the sandbox at an address."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.get(f"{url}/_sandbox/{what}") as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


async def admin_post(url: str, what: str, body: dict[str, Any]) -> None:
    """Change something of the sandbox: `topup`, `webhook`, `faults` and so on."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(f"{url}/_sandbox/{what}", json=body),
    ):
        pass


@dataclass(frozen=True, slots=True)
class ProviderRun:
    """A run as the provider has it: when it ended, in unix seconds."""

    id: str
    label: str
    started_at: float
    finished_at: float | None
    was_seen: bool


async def executions(url: str, since: float = 0.0) -> list[ProviderRun]:
    """Every run that was started since."""
    items = (await admin_get(url, f"executions?since={since!r}"))["items"]
    return [
        ProviderRun(
            id=item["id"],
            label=item["label"],
            started_at=item["started_at"],
            finished_at=item["finished_at"],
            was_seen=item["seen_completed_at"] is not None,
        )
        for item in items
    ]


async def requests(url: str) -> int:
    """How many requests the sandbox has answered, those of the admin aside."""
    routes = (await admin_get(url, "ledger"))["requests"]
    return sum(sum(by_status.values()) for by_status in routes.values())
