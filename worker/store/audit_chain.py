"""The chain of the audit log: each entry carries the hash of itself and of the entry before.

With payload keys the hash is an HMAC under a key made of the first of them, so that only who has
the keys can write an entry; without it is a plain digest, which shows accidents and careless
changes.
`commit.lua` appends an entry only behind the one that its hash was made for.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from worker.store.codec import encode
from worker.store.payload_cipher import PLAIN, key_id

CHAINED_FIELDS: Final = ("at", "by", "act", "on", "note", "jobs", "changed")
"""The fields of an entry that its hash covers, beside the hash of the entry before."""

BEGIN: Final = ""
"""Stands for the hash of the entry before the first."""


class AuditChain:
    """Hashes entries, and remembers the hash of the last one that this process knows."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = {key_id(key): _audit_key(key) for key in keys}
        self._first = next(iter(self._keys), PLAIN)
        self.head = BEGIN
        """The hash of the last entry, as far as it is known here; a write corrects it."""

    @property
    def is_keyed(self) -> bool:
        """Whether there is a key: then every entry has to be signed with one of them."""
        return bool(self._keys)

    def hash_of(self, prev: str, values: Sequence[str]) -> str:
        """The hash of an entry behind the one with the hash `prev`, as `<key id>:<hex>`."""
        return self._hash(self._first, prev, values) or ""

    def is_valid(self, prev: str, fields: Mapping[str, str]) -> bool | None:
        """Whether the hash of a stored entry is right; None where its key is not there."""
        given = fields.get("hash", "")
        values = [fields.get(name, "") for name in CHAINED_FIELDS]
        expected = self._hash(given.partition(":")[0], prev, values)
        return None if expected is None else hmac.compare_digest(expected, given)

    def digest(self, data: bytes) -> str | None:
        """A keyed digest of a text that may not be stored; None without keys."""
        key = self._keys.get(self._first)
        if key is None:
            return None
        return f"{self._first}:{hmac.digest(key, b'payload:' + data, 'sha256').hex()}"

    def _hash(self, name: str, prev: str, values: Sequence[str]) -> str | None:
        text = encode([prev, *values])
        if name == PLAIN:
            return f"{PLAIN}:{hashlib.sha256(text).hexdigest()}"
        key = self._keys.get(name)
        return None if key is None else f"{name}:{hmac.digest(key, text, 'sha256').hex()}"


NO_CHAIN: Final = AuditChain()
"""For changes without audit entries."""


def _audit_key(key: bytes) -> bytes:
    """A key of its own, made of a payload key: the two uses do not touch each other."""
    return hashlib.blake2b(key, digest_size=32, person=b"kw-audit").digest()
