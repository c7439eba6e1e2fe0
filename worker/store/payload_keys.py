"""Keys of payloads that a process lacks, in words."""

from collections.abc import Collection
from typing import Final

from worker.store.payload_cipher import PLAIN

LACKING: Final = "payload_keys"
"""What heartbeats call a worker that lacks a key."""

LACKING_FIX: Final = (
    "give it the keys of the other processes; where no payload is under that key any more,"
    " run `knouds-worker payloads rewrap`, and where the key is lost,"
    " `knouds-worker payloads forget ID`"
)


def lacking_text(lacking: Collection[str]) -> str:
    """What is missing; `lacking`: ids of keys."""
    keys = sorted(set(lacking) - {PLAIN})
    missing = [f"the key {', '.join(keys)}"] if keys else []
    missing += ["`plain`, for payloads that are not encrypted"] if PLAIN in lacking else []
    return f"KNOUDS_PAYLOAD_KEYS lacks {' and '.join(missing)}, which payloads are stored under"


def lacking_problem(lacking: Collection[str]) -> dict[str, str]:
    """What a heartbeat reports of it; empty if no key is missing."""
    return {LACKING: lacking_text(lacking)} if lacking else {}
