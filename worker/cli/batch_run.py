"""Sends the lines of a batch file, and follows the results of their jobs."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.cli.api_client import TOO_MANY_REQUESTS, ApiClient, ApiResponse, TooManyRequests
from worker.cli.batch_feed import LineFeed
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

POLL_S: Final = 1.0
"""Between two looks at a batch of which no job settled."""

STALLED_POLLS: Final = 3
"""Looks in a row at a batch that waits for an operator, until it is not waited for: a job whose
parent has just succeeded is queued in between."""

OUTAGE_S: Final = 600.0
"""How long an API or a Redis that is away is waited for."""

LIMIT_PAUSE_S: Final = 2.0
"""Before lines are sent again that were beyond a limit of the token."""

CHECKS_AT_ONCE: Final = 8

MAX_HELD_ROWS: Final = 5_000
"""Results of jobs whose line was not read yet, kept until it is."""

SETTLED: Final = ("succeeded", "dead", "cancelled")


class BrokenFile(CommandFailure):
    """A batch file that cannot be read any further."""


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
        self._refusing = threading.Lock()
        self._is_created = asyncio.Event()
        self._is_sent = False
        self._held: list[Doc] = []
        """Results of jobs whose line was not read yet."""

    def refuse(self, number: int, message: str) -> None:
        """Count a line that is not sent, and report it on stderr; from any thread."""
        with self._refusing:
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
        is_over = not (self.states["parked"] or self.states["waiting"])
        return ExitCode.OK if is_over else ExitCode.PARKED

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

        try:
            with LineFeed(lines) as feed:
                async with asyncio.TaskGroup() as group:
                    async for line in feed.lines():
                        await slots.acquire()
                        group.create_task(one(line))
        except BaseExceptionGroup as failures:
            failure = _cause_of(failures)
            if isinstance(failure, BrokenFile):
                failure = BrokenFile(f"{failure.message}; nothing sent")
            raise failure from None

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

    async def run(
        self, api: ApiClient, lines: Iterator[BatchLine], results: ResultFile | None
    ) -> None:
        """Send the lines, and write the results meanwhile and until the last."""
        if results is None:
            await self.send(api, lines)
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.send(api, lines))
                group.create_task(self.collect(api, results))
        except BaseExceptionGroup as failures:
            raise _cause_of(failures) from None

    async def send(self, api: ApiClient, lines: Iterator[BatchLine]) -> None:
        """Create the batch, enqueue every line, and seal the batch if none was refused."""
        body: Doc = {"name": self.name}
        if self._budget is not None:
            body["budget"] = self._budget
        if self._callback_url is not None:
            body["callback_url"] = self._callback_url
        await _patiently(lambda: api.post_idempotent("batches", body=body))
        self._is_created.set()
        with LineFeed(lines) as feed:
            async for call in feed.calls():
                await self._send_call(api, call)
        try:
            feed.raise_failure()
        except BrokenFile as failure:
            sent = self.enqueued + self.duplicates
            count = f"the {sent} lines before it are sent" if sent else "no line is sent"
            raise BrokenFile(f"{failure.message}; {count}") from None
        if not self.refused:
            await _patiently(lambda: api.post_idempotent("batches", self.name, "seal", body={}))
        self._is_sent = True

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
        for line in call:  # a result may come before the response
            self.numbers.setdefault(line.job_id, line.number)
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
        await self._is_created.wait()
        cursor = "0"
        with self._progress() as progress:
            bar = progress.add_task(self.name, total=None, credits=0.0)
            stalled_polls = 0
            while True:
                is_sent = self._is_sent
                batch = (await _patiently(lambda: api.get("batches", self.name))).doc
                self.states = Counter(batch["states"])
                cursor = await self._drain(api, cursor, results)
                settled = sum(self.states[state] for state in SETTLED)
                total, cost = len(self.numbers), float(batch["cost"])
                progress.update(bar, total=total, completed=settled, credits=cost)
                left = int(batch["total"]) - settled - self.states["parked"]
                if is_sent and left <= 0:
                    return
                is_stalled = is_sent and batch["stalled"] and left == self.states["waiting"]
                stalled_polls = stalled_polls + 1 if is_stalled else 0
                if stalled_polls >= STALLED_POLLS:
                    return
                await asyncio.sleep(POLL_S)

    async def _drain(self, api: ApiClient, cursor: str, results: ResultFile) -> str:
        """Write the results behind a cursor; returns the cursor behind them.

        A job that is not of this file, or not yet, is written when all lines have been read.
        """
        while True:
            held, self._held = self._held, []
            self._write(held, results)
            if len(self._held) >= MAX_HELD_ROWS:
                return cursor
            path, query = ("batches", self.name, "results"), {"cursor": cursor}
            found = await _patiently(partial(api.get, *path, query=query))
            rows = [msgspec.json.decode(line, type=Doc) for line in found.text.splitlines()]
            if not rows:
                return cursor
            self._write(rows, results)
            cursor = str(rows[-1]["cursor"])

    def _write(self, rows: list[Doc], results: ResultFile) -> None:
        known = [row for row in rows if self._is_sent or str(row["id"]) in self.numbers]
        if len(known) < len(rows):
            self._held += [row for row in rows if str(row["id"]) not in self.numbers]
        results.append(self._line_of(row) for row in known)

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


def _cause_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure to report of several: an API or a Redis that is away before anything else."""
    away = (ApiUnreachable, RedisUnreachable)
    return min(failures.exceptions, key=lambda failure: not isinstance(failure, away))


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
