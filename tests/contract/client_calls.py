"""How the tests of this folder call the client."""

import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from jobs.outcomes import SubmitOutcome
from jobs.states import Kind, Mode
from worker.provider.http.network_path import DIRECT, NetworkPath
from worker.provider.http.options import HttpOptions
from worker.provider.knouds.client import SETTING_NAMES, KnoudsClient, Timeouts
from worker.provider.port import RateLimitObserver

KEY = "knouds_live_top-secret"
INPUTS = b'{ "prompt":"hush-hush",  "cfg": 1.10 }'
SECRETS = ("top-secret", "hush-hush", "output-of-the-run")
"""Parts of the key, the inputs and the result: no message may show them."""

SHORT_S = 0.15
"""A timeout that a test waits for."""


TIMEOUTS: Final = Timeouts(submit_s=2, sync_s=2, poll_s=2)

RecordMark = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CallingMark:
    """A `SendMark` that calls a function."""

    call: RecordMark

    async def record(self) -> None:
        await self.call()


def provider_at(
    url: str,
    *,
    key: str = KEY,
    timeouts: Timeouts = TIMEOUTS,
    connect_s: float = 2,
    max_answer_bytes: int = 1 << 20,
    rate_limit_observer: RateLimitObserver | None = None,
    clock: Callable[[], float] = time.time,
    tls: ssl.SSLContext | None = None,
    path: NetworkPath = DIRECT,
) -> KnoudsClient:
    """Make a client with one account, `default`, and short timeouts."""
    return KnoudsClient(
        url,
        {"default": SecretStr(key)},
        timeouts=timeouts,
        http=HttpOptions(
            connect_s=connect_s,
            max_body_bytes=max_answer_bytes,
            tls=tls,
            path=path,
            names=SETTING_NAMES,
        ),
        rate_limit_observer=rate_limit_observer,
        clock=clock,
    )


async def submit(
    provider: KnoudsClient,
    record: RecordMark | None = None,
    *,
    inputs: bytes = INPUTS,
    mode: Mode = Mode.ASYNC,
) -> SubmitOutcome:
    """Submit a run of a model; the outcome shows no secret."""
    mark = None if record is None else CallingMark(record)
    outcome = await provider.submit(Kind.MODEL, "suno", "default", inputs, mode, mark=mark)
    assert not any(secret in repr(outcome) for secret in SECRETS)
    return outcome


def no_answer(url: str, setting: str = "KNOUDS_SUBMIT_TIMEOUT_S", seconds: float = SHORT_S) -> str:
    """The text of a timeout while an answer was awaited."""
    return f"no answer from {urlsplit(url).netloc} within {seconds:g} s ({setting})"


NOT_RECORDED = (
    f"the submit was not recorded within {SHORT_S:g} s (KNOUDS_SUBMIT_TIMEOUT_S),"
    " so it was not sent"
)
