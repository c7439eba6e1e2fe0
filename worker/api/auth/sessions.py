"""Browser sessions: a random secret in a cookie, opened with a token of the settings at the login.

Redis stores the digest of the secret and, as proof of the token, an HMAC of the secret keyed with
the digest of the token's. So a dump of Redis opens no session and reveals no token, write access to
Redis cannot create a session, and a token that is changed or removed in the settings ends its
sessions. Name and role are those the token has now. The CSRF token is derived from the secret.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

import msgspec

from config.values import ApiToken
from worker.api.auth.tokens import ApiTokens
from worker.store.codec import DECODE_ERRORS
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.sessions import SessionStore

IDLE_TIMEOUT_S: Final = 12 * 3600
"""A session ends when it is not used for so long."""

SECRET_BYTES: Final = 32


class SessionRecord(
    msgspec.Struct, frozen=True, tag_field="schema", tag=1, forbid_unknown_fields=True
):
    """What Redis stores of a session.

    One that a newer version wrote is left as it is and opens nothing: what it allows is not known.
    """

    name: str
    token_mac: str


_session: Final = RecordSchema(SessionRecord, UNCHANGED)


@dataclass(frozen=True, slots=True)
class Session:
    """An open session."""

    secret: str = field(repr=False)
    token: ApiToken

    @property
    def csrf(self) -> str:
        """The CSRF token that unsafe requests of this session carry."""
        return csrf_of(self.secret)


class Sessions:
    """Opens, finds and closes sessions."""

    def __init__(self, store: SessionStore, tokens: ApiTokens) -> None:
        self._store = store
        self._tokens = tokens

    async def open(self, token: ApiToken) -> Session:
        """Open a session of a token; its secret goes into the cookie."""
        session = Session(secrets.token_urlsafe(SECRET_BYTES), token)
        record = SessionRecord(token.name, _token_mac(token, session.secret))
        await self._store.open(_digest(session.secret), msgspec.json.encode(record), IDLE_TIMEOUT_S)
        return session

    async def find(self, secret: str) -> Session | None:
        """The session of a cookie; None where it has ended or its token is not set any more."""
        data = await self._store.find(_digest(secret), IDLE_TIMEOUT_S)
        if data is None:
            return None
        try:
            record = _session.decode(data)
        except (NewerSchema, *DECODE_ERRORS):
            return None
        token = self._tokens.named(record.name)
        if token is None or not hmac.compare_digest(
            record.token_mac.encode(), _token_mac(token, secret).encode()
        ):
            return None
        return Session(secret, token)

    async def close(self, secret: str) -> None:
        """End a session."""
        await self._store.close(_digest(secret))


def csrf_of(secret: str) -> str:
    """The CSRF token derived from a session's secret."""
    return hmac.new(_bytes(secret), b"csrf", hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(secret: str) -> str:
    return hashlib.sha256(_bytes(secret)).hexdigest()


def _token_mac(token: ApiToken, secret: str) -> str:
    return hmac.new(token.sha256.encode(), b"session:" + _bytes(secret), hashlib.sha256).hexdigest()
