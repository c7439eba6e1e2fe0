"""What encryption of payloads costs a run: python -m bench.payload_encryption [RUNS].

Runs with and without KNOUDS_PAYLOAD_KEYS take turns, with inputs of 1 KB. CPU of the worker and of
Redis a run, and of this process an enqueue.
"""

import base64
from typing import Final

from bench.run_cost import Way, compare
from jobs.requests import JobRequest
from jobs.states import Kind

KEY: Final = base64.b64encode(b"k" * 32).decode()
INPUTS: Final = b'{"prompt":"' + b"x" * 1_000 + b'"}'

if __name__ == "__main__":
    compare(
        "payload_encryption",
        __doc__,
        (Way("plain"), Way("encrypted", {"KNOUDS_PAYLOAD_KEYS": KEY})),
        JobRequest(Kind.MODEL, "gpt-image-2", INPUTS),
    )
