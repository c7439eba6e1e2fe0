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
from worker.clock import Clock
from worker.store.codec import DECODE_ERRORS
from worker.store.schema import UNCHANGED, NewerSchema, RecordSchema
from worker.store.sessions import SessionStore

IDLE_TIMEOUT_S: Final = 12 * 3600
"""A session ends when it is not used for so long."""

MAX_AGE_S: Final = 7 * 86_400
"""It ends so long after the login, however it is used."""

RENEW_AFTER_S: Final = 300
"""A session is renewed when it has lost so much of its lifetime, so few reads write."""

ID_CHARS: Final = 16
"""Characters of the digest that name a session to operators."""

SECRET_BYTES: Final = 32


class SessionRecord(
    msgspec.Struct, frozen=True, tag_field="schema", tag=2, forbid_unknown_fields=True
):
    """What Redis stores of a session.

    One that a newer version wrote is left as it is and opens nothing: what it allows is not known.
    """

    name: str
    token_mac: str
    opened_at: float = 0.0
    """Unix seconds. One of before schema 2 has ended."""
    client: str = ""
    """The address that logged in."""


_session: Final = RecordSchema(SessionRecord, {**UNCHANGED, 1: UNCHANGED[0]})


@dataclass(frozen=True, slots=True)
class Session:
    """An open session."""

    secret: str = field(repr=False)
    token: ApiToken

    @property
    def csrf(self) -> str:
        """The CSRF token that unsafe requests of this session carry."""
        return csrf_of(self.secret)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as operators see it."""

    id: str
    name: str
    """Of the token it was opened with."""
    client: str
    opened_at: float
    ends_at: float
    """When it ends unless it is used, Unix seconds."""


class Sessions:
    """Opens, finds, lists and closes sessions."""

    def __init__(self, store: SessionStore, tokens: ApiTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    async def open(self, token: ApiToken, client: str = "") -> Session:
        """Open a session of a token; its secret goes into the cookie."""
        session, now = Session(secrets.token_urlsafe(SECRET_BYTES), token), self._clock.now()
        mac = _token_mac(token, session.secret)
        record = msgspec.json.encode(SessionRecord(token.name, mac, now, client[:64]))
        await self._store.open(
            _digest(session.secret),
            record,
            ttl_s=IDLE_TIMEOUT_S,
            now=now,
            ends_at=now + MAX_AGE_S,
        )
        return session

    async def find(self, secret: str, *, renews: bool = True) -> Session | None:
        """The session of a cookie; None where it has ended or its token is not set any more.

        `renews`: it counts as used.
        """
        digest = _digest(secret)
        data, left_s = await self._store.find(digest)
        record = None if data is None else _decode(data)
        if record is None:
            return None
        oldest_s = int(record.opened_at + MAX_AGE_S - self._clock.now())
        if oldest_s <= 0:
            return None
        is_due = left_s < min(IDLE_TIMEOUT_S, oldest_s) - RENEW_AFTER_S or left_s > oldest_s
        if renews and is_due:
            await self._store.renew(digest, min(IDLE_TIMEOUT_S, oldest_s))
        token = self._tokens.named(record.name)
        if token is None or not hmac.compare_digest(
            record.token_mac.encode(), _token_mac(token, secret).encode()
        ):
            return None
        return Session(secret, token)

    async def close(self, secret: str) -> None:
        """End a session."""
        await self._store.close(_digest(secret))

    async def list_all(self) -> list[OpenSession]:
        """The sessions that are open, the oldest first."""
        now, found = self._clock.now(), list[OpenSession]()
        for digest, data, left_s in await self._store.list_all():
            record = _decode(data)
            if record is None or record.opened_at + MAX_AGE_S <= now:
                continue
            if self._tokens.named(record.name) is None:
                continue
            ends_at = min(now + left_s, record.opened_at + MAX_AGE_S)
            shown = digest[:ID_CHARS]
            found.append(OpenSession(shown, record.name, record.client, record.opened_at, ends_at))
        return found

    async def revoke(self, session_id: str) -> bool:
        """End the session of this id; returns whether it was open."""
        for digest, _, _ in await self._store.list_all():
            if digest[:ID_CHARS] == session_id:
                return await self._store.close(digest)
        return False


def _decode(data: bytes) -> SessionRecord | None:
    """The record; None where it cannot be read, or a newer version wrote it."""
    try:
        return _session.decode(data)
    except (NewerSchema, *DECODE_ERRORS):
        return None


def csrf_of(secret: str) -> str:
    """The CSRF token derived from a session's secret."""
    return hmac.new(_bytes(secret), b"csrf", hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _digest(secret: str) -> str:
    return hashlib.sha256(_bytes(secret)).hexdigest()


def _token_mac(token: ApiToken, secret: str) -> str:
    return hmac.new(token.sha256.encode(), b"session:" + _bytes(secret), hashlib.sha256).hexdigest()
