"""Sends the lines of a batch file, and follows the results of their jobs."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.cli.api_client import TOO_MANY_REQUESTS, ApiClient, ApiResponse, TooManyRequests
from worker.cli.batch_file import BatchLine
from worker.cli.batch_output import ResultFile
from worker.cli.client_session import STATUS_ENQUEUED, STATUS_ERROR
from worker.cli.exit_codes import (
    ApiUnreachable,
    CommandFailure,
    ExitCode,
    RedisUnreachable,
)
from worker.cli.text import Doc, sanitize

MAX_CALL_JOBS: Final = 1_000
"""Jobs per call: the API's limit."""

MAX_CALL_BYTES: Final = 4 << 20
"""Bytes per call, below the API's `KNOUDS_MAX_BODY_BYTES` of 8 MiB. One larger job goes alone."""

POLL_S: Final = 1.0
"""Between two looks at a batch of which no job settled."""

OUTAGE_S: Final = 600.0
"""How long an API or a Redis that is away is waited for."""

LIMIT_PAUSE_S: Final = 2.0
"""Before lines are sent again that were beyond a limit of the token."""

CHECKS_AT_ONCE: Final = 8

SETTLED: Final = ("succeeded", "dead", "cancelled")


class BatchRun:
    """One call of `batch`: what was sent, refused and written so far."""

    def __init__(
        self,
        name: str,
        budget: float | None,
        callback_url: str | None = None,
        *,
        is_terminal: bool,
    ) -> None:
        self.name = name
        self._budget = budget
        self._callback_url = callback_url
        self._is_terminal = is_terminal
        self.enqueued = self.duplicates = self.refused = self.unconfirmed = self.readable = 0
        self.est_cost = 0.0
        self.is_cost_known = True
        self.numbers: dict[str, int] = {}
        """Job id → its line."""
        self.states: Counter[str] = Counter()
        """Jobs of the batch in each state, when it was last looked at."""

    def refuse(self, number: int, message: str) -> None:
        """Count a line that is not sent, and report it on stderr."""
        self.refused += 1
        click.echo(f"line {number}: {sanitize(message)}", err=True)

    def exit_code(self, *, waited: bool) -> ExitCode:
        """What the command ends with: refused lines first, then dead letters, then parked jobs."""
        if self.refused:
            return ExitCode.FAILED
        if not waited:
            return ExitCode.OK
        if self.states["dead"] or self.states["cancelled"]:
            return ExitCode.NOT_SUCCEEDED
        return ExitCode.PARKED if self.states["parked"] else ExitCode.OK

    # Dry run.

    async def check(self, api: ApiClient, lines: Iterator[BatchLine]) -> None:
        """Have each line checked against what is known of its target; nothing is enqueued."""
        slots = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def one(line: BatchLine) -> None:
            try:
                self._count_check((await api.post("jobs", "dry-run", body=line.request)).doc)
            except (ApiUnreachable, RedisUnreachable):
                raise
            except CommandFailure as failure:
                self.refuse(line.number, failure.message)
            finally:
                slots.release()

        async with asyncio.TaskGroup() as group:
            for line in lines:
                await slots.acquire()
                group.create_task(one(line))

    def _count_check(self, preview: Doc) -> None:
        self.readable += 1
        cost = preview.get("est_cost")
        if cost is None:
            self.is_cost_known = False
        else:
            self.est_cost += float(cost)
        warnings: list[Doc] = preview.get("warnings") or []
        for warning in warnings:
            click.echo(sanitize(f"warning: {warning['message']}"), err=True)

    # Sending.

    async def send(self, api: ApiClient, lines: Iterator[BatchLine]) -> None:
        """Create the batch, enqueue every line, and seal the batch if none was refused."""
        body: Doc = {"name": self.name}
        if self._budget is not None:
            body["budget"] = self._budget
        if self._callback_url is not None:
            body["callback_url"] = self._callback_url
        await _patiently(lambda: api.post_idempotent("batches", body=body))
        for call in _chunks(lines):
            await self._send_call(api, call)
        if not self.refused:
            await _patiently(lambda: api.post_idempotent("batches", self.name, "seal", body={}))

    async def _send_call(self, api: ApiClient, call: list[BatchLine]) -> None:
        """Enqueue some lines; those beyond a limit of the token again, until there is room."""
        give_up_at = asyncio.get_running_loop().time() + OUTAGE_S
        while True:
            call = await self._send_once(api, call, give_up_at)
            if not call:
                return
            await asyncio.sleep(LIMIT_PAUSE_S)

    async def _send_once(
        self, api: ApiClient, call: list[BatchLine], give_up_at: float
    ) -> list[BatchLine]:
        """Enqueue some lines; returns those to send again."""
        jobs = [line.request for line in call]
        try:
            response = await _patiently(
                lambda: api.post_idempotent("jobs", "bulk", body={"jobs": jobs})
            )
        except CommandFailure as failure:
            acknowledged = self.enqueued + self.duplicates
            raise type(failure)(
                f"{failure.message} (lines {call[0].number} to {call[-1].number} were not"
                f" acknowledged, nor any after them; {acknowledged} before them were)"
            ) from None
        again: list[BatchLine] = []
        for line, result in zip(call, response.doc["results"], strict=True):
            may_wait = asyncio.get_running_loop().time() < give_up_at
            if int(result["status"]) == TOO_MANY_REQUESTS and may_wait:
                again.append(line)
            else:
                self._count_result(line, result)
        return again

    def _count_result(self, line: BatchLine, result: Doc) -> None:
        status = int(result["status"])
        if status >= STATUS_ERROR:
            error: Doc = result.get("error") or {}
            text = str(error.get("detail") or error.get("title") or f"HTTP {status}")
            self.refuse(line.number, text)
            return
        self.unconfirmed += result.get("durability") == "unconfirmed"
        self.numbers[line.job_id] = line.number
        if status == STATUS_ENQUEUED:
            self.enqueued += 1
        else:
            self.duplicates += 1

    # Results.

    async def collect(self, api: ApiClient, results: ResultFile) -> None:
        """Write each result as it comes, until every job has settled or waits for a person."""
        cursor = "0"
        with self._progress() as progress:
            bar = progress.add_task(self.name, total=len(self.numbers), credits=0.0)
            while True:
                batch = (await _patiently(lambda: api.get("batches", self.name))).doc
                self.states = Counter(batch["states"])
                cursor = await self._drain(api, cursor, results)
                settled = sum(self.states[state] for state in SETTLED)
                progress.update(bar, completed=settled, credits=float(batch["cost"]))
                if settled + self.states["parked"] >= int(batch["total"]):
                    return
                await asyncio.sleep(POLL_S)

    async def _drain(self, api: ApiClient, cursor: str, results: ResultFile) -> str:
        """Write the results behind a cursor; returns the cursor behind them."""
        while True:
            path, query = ("batches", self.name, "results"), {"cursor": cursor}
            found = await _patiently(partial(api.get, *path, query=query))
            rows = [msgspec.json.decode(line, type=Doc) for line in found.text.splitlines()]
            if not rows:
                return cursor
            results.append(self._line_of(row) for row in rows)
            cursor = str(rows[-1]["cursor"])

    def _line_of(self, row: Doc) -> Doc:
        names = ("id", "state", "result", "cost", "reason")
        found: Doc = {"line": self.numbers.get(str(row["id"]))}
        return found | {name: row[name] for name in names}

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[credits]:,.4g} credits"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._is_terminal,
        )


def _chunks(lines: Iterator[BatchLine]) -> Iterator[list[BatchLine]]:
    """Split the lines into calls of bounded count and size."""
    call: list[BatchLine] = []
    size_bytes = 0
    for line in lines:
        if call and (len(call) == MAX_CALL_JOBS or size_bytes + line.size_bytes > MAX_CALL_BYTES):
            yield call
            call, size_bytes = [], 0
        call.append(line)
        size_bytes += line.size_bytes
    if call:
        yield call


async def _patiently(call: Callable[[], Awaitable[ApiResponse]]) -> ApiResponse:
    """The response to a call that may be repeated, also if the API or Redis is away for a while."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + OUTAGE_S
    wait_s = POLL_S
    while True:
        try:
            return await call()
        except (ApiUnreachable, RedisUnreachable, TooManyRequests):
            if loop.time() >= give_up_at:
                raise
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 15.0)
