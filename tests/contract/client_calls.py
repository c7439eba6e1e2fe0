"""How the tests of this folder call the provider client."""

import ssl
import time
from collections.abc import Callable
from typing import Final

from pydantic import SecretStr

from jobs.outcomes import SubmitOutcome
from jobs.states import Kind, Mode
from worker.provider.http.send_gate import BeforeWrite
from worker.provider.knouds.client import KnoudsClient, OnRateLimit, Timeouts

KEY = "knouds_live_top-secret"
INPUTS = b'{ "prompt":"hush-hush",  "cfg": 1.10 }'
SECRETS = ("top-secret", "hush-hush", "output-of-the-run")
"""Parts of the key, the inputs and the result: none may show in a message."""

SHORT_S = 0.15
"""A timeout that a test waits out."""


TIMEOUTS: Final = Timeouts(connect_s=2, submit_s=2, sync_s=2, poll_s=2)


def provider_at(
    url: str,
    *,
    key: str = KEY,
    timeouts: Timeouts = TIMEOUTS,
    connections: int = 200,
    max_answer_bytes: int = 1 << 20,
    on_rate_limit: OnRateLimit | None = None,
    clock: Callable[[], float] = time.time,
    tls: ssl.SSLContext | None = None,
) -> KnoudsClient:
    """Make a client with one account, `default`, that never waits long."""
    return KnoudsClient(
        url,
        {"default": SecretStr(key)},
        timeouts=timeouts,
        max_connections=connections,
        max_body_bytes=max_answer_bytes,
        on_rate_limit=on_rate_limit,
        clock=clock,
        tls=tls,
    )


async def submit(
    provider: KnoudsClient,
    before_write: BeforeWrite | None = None,
    *,
    inputs: bytes = INPUTS,
    mode: Mode = Mode.ASYNC,
) -> SubmitOutcome:
    """Submit a run of a model; whatever comes back shows no secret."""
    answer = await provider.submit(
        Kind.MODEL, "suno", "default", inputs, mode, before_write=before_write
    )
    assert not any(secret in repr(answer) for secret in SECRETS)
    return answer
