"""Inputs, results and bodies of deliveries as Redis stores them: as they are, or encrypted.

With keys a payload is AES-256-GCM. Before the nonce and the ciphertext stand `MAGIC`, with which no
JSON text begins, and the id of the key, so that keys can be rotated. The place of a payload, its
key and field in Redis, is authenticated with it: one that is moved to another job cannot be read.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"\x00kw1"
KEY_ID_CHARS: Final = 8
NONCE_BYTES: Final = 12
"""Random nonces: one key may encrypt 2^32 payloads (NIST SP 800-38D, 8.3)."""

_HEAD_BYTES: Final = len(MAGIC) + KEY_ID_CHARS
PLAIN: Final = "plain"
"""Stands for the id of a key where a payload is not encrypted."""
PLAIN_KEY: Final = b""
"""Stands among the keys for no encryption: without it, a plain payload was not written by us."""


class UnreadablePayload(Exception):
    """No key reads a payload, or it was changed or moved."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        super().__init__(f"no key of KNOUDS_PAYLOAD_KEYS reads it (key id {key_id})")


class PayloadCipher:
    """Encrypts payloads under the first key, and reads those of every key and no others.

    Where `PLAIN_KEY` is the first, it does not encrypt; where it is none of them, a plain payload
    is unreadable, as it may have been put in the place of an encrypted one.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        keys = keys or (PLAIN_KEY,)
        self.keys = tuple(key for key in keys if key != PLAIN_KEY)
        self.key_ids = tuple(key_id(key) for key in keys)
        """Of every key, `PLAIN` for `PLAIN_KEY`."""
        self._ciphers: Mapping[bytes, AESGCM] = _ciphers(self.keys) if self.keys else {}
        self._unreadable = _decryption_errors() if self.keys else ()
        first = self.first_key_id
        self._first = None if first == PLAIN else (first.encode(), self._ciphers[first.encode()])

    @property
    def is_active(self) -> bool:
        """Whether it encrypts."""
        return self._first is not None

    @property
    def first_key_id(self) -> str:
        """The id of the key that encrypts; `PLAIN` if none does."""
        return self.key_ids[0]

    def seal(self, place: str, payload: bytes) -> bytes:
        """What to store at a place."""
        if self._first is None:
            return payload
        name, cipher = self._first
        nonce = secrets.token_bytes(NONCE_BYTES)
        return b"".join((MAGIC, name, nonce, cipher.encrypt(nonce, payload, place.encode())))

    def open(self, place: str, stored: bytes) -> bytes:
        """The payload that is stored at a place; raises `UnreadablePayload`."""
        if not stored.startswith(MAGIC):
            if PLAIN not in self.key_ids:
                raise UnreadablePayload(PLAIN)
            return stored
        cipher = self._ciphers.get(stored[len(MAGIC) : _HEAD_BYTES])
        if cipher is None:
            raise UnreadablePayload(stored_key_id(stored))
        nonce = stored[_HEAD_BYTES : _HEAD_BYTES + NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, stored[_HEAD_BYTES + NONCE_BYTES :], place.encode())
        except self._unreadable:
            raise UnreadablePayload(stored_key_id(stored)) from None


def _ciphers(keys: Sequence[bytes]) -> "dict[bytes, AESGCM]":
    # A worker without keys starts faster without it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return {key_id(key).encode(): AESGCM(key) for key in keys}


def _decryption_errors() -> tuple[type[Exception], ...]:
    """What decryption raises for a payload that was changed, moved or cut short."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  as in `_ciphers`

    return InvalidTag, ValueError


def key_id(key: bytes) -> str:
    """The public id of a key: eight hexadecimal digits of its digest, or `PLAIN`."""
    if key == PLAIN_KEY:
        return PLAIN
    return hashlib.blake2s(key, digest_size=KEY_ID_CHARS // 2, person=b"kw-keyid").hexdigest()


NO_CIPHER: Final = PayloadCipher()
"""Stores payloads as they are."""


def stored_key_id(stored: bytes) -> str:
    """The id of the key that a payload is encrypted under; `PLAIN` where it is not."""
    if not stored.startswith(MAGIC):
        return PLAIN
    return stored[len(MAGIC) : _HEAD_BYTES].decode("ascii", "replace")
