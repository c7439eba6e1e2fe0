"""A running knouds-worker that plays runs with its sandbox: KNOUDS_TEST_URL names it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from failing_proxy import FailingProxy

from knouds_worker_client import Client, RetryPolicy

FAST = RetryPolicy(base_s=0.01, cap_s=0.05)


@pytest.fixture(scope="session")
def url() -> str:
    found = os.environ.get("KNOUDS_TEST_URL")
    if found is None:
        pytest.skip("KNOUDS_TEST_URL is not set: `make test/clients` starts a server and sets it")
    return found


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, retries=FAST) as opened:
        yield opened


@pytest.fixture
def proxy(url: str) -> Iterator[FailingProxy]:
    """A connection to the server that fails as a test asks."""
    with FailingProxy(url) as opened:
        yield opened


def run_inputs(**behaviour: Any) -> dict[str, Any]:
    """Inputs that say what the sandbox does."""
    label = uuid.uuid4().hex
    return {"prompt": "a cat", "sandbox": {"label": label, "duration_s": 0.05, **behaviour}}
