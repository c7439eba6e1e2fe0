"""What a Redis that says no means: one table from its error to a reason and a fix.

Redis' first word is the code of an error. It is found wherever the server puts it: at the front of
a reply, inside the error of a script (`ERR Error running script …: -NOREPLICAS …` on 6.2,
`NOREPLICAS … script: …` on 7 and later), or as the class that redis-py makes of it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004
)


class RefusalCode(StrEnum):
    """Redis' first word; the last ones are ours, where it has none."""

    NOREPLICAS = "NOREPLICAS"
    OOM = "OOM"
    MISCONF = "MISCONF"
    BUSY = "BUSY"
    READONLY = "READONLY"
    UNBLOCKED = "UNBLOCKED"
    MASTERDOWN = "MASTERDOWN"
    LOADING = "LOADING"
    NOPERM = "NOPERM"
    NOAUTH = "NOAUTH"
    WRONGPASS = "WRONGPASS"
    DENIED = "DENIED"
    CLUSTERDOWN = "CLUSTERDOWN"
    TRYAGAIN = "TRYAGAIN"
    MOVED = "MOVED"
    ASK = "ASK"
    CROSSSLOT = "CROSSSLOT"
    MAXCLIENTS = "MAXCLIENTS"
    """Redis says `ERR max number of clients reached`."""
    SENTINEL = "SENTINEL"
    """It is none: a Sentinel answers."""
    NOSCRIPT = "NOSCRIPT"
    RECOVERING = "RECOVERING"
    """Said by `commit.lua`, see `jobs.data_recovery`."""
    CERTIFICATE = "CERTIFICATE"
    """Its certificate is not accepted."""
    UNREACHABLE = "UNREACHABLE"
    """It does not answer."""


@dataclass(frozen=True, slots=True)
class RedisRefusal:
    """Why Redis did not do what was asked. Nothing is wrong with the request."""

    code: RefusalCode
    text: str
    """What is the matter, after the word Redis."""
    fix: str
    """What ends it."""
    needs_operator: bool = False
    """It does not end by itself."""

    @property
    def reason(self) -> str:
        """The code with what it means, as one sentence without a full stop."""
        return f"Redis {self.text} ({self.code})"


_TO_PRIMARY: Final = "wait for the failover to end, or point KNOUDS_REDIS_URL at the primary"
_NO_CLUSTER: Final = "use one primary, alone or with Sentinel: Redis Cluster is not supported"
_PASSWORD: Final = "correct the user and the password in KNOUDS_REDIS_URL"  # noqa: S105

_REFUSALS: Final = {
    refusal.code: refusal
    for refusal in (
        RedisRefusal(
            RefusalCode.NOREPLICAS,
            "has fewer replicas than min-replicas-to-write asks for",
            "bring its replicas back, or lower min-replicas-to-write",
        ),
        RedisRefusal(
            RefusalCode.OOM,
            "has used all of its maxmemory",
            "raise maxmemory, or keep less (KNOUDS_RETENTION_S)",
            needs_operator=True,
        ),
        RedisRefusal(
            RefusalCode.MISCONF,
            "cannot write to its disk",
            "free disk space, and see the log of Redis",
            needs_operator=True,
        ),
        RedisRefusal(
            RefusalCode.BUSY,
            "is busy with a script of another client",
            "wait for the script to end, or end it with SCRIPT KILL",
        ),
        RedisRefusal(RefusalCode.READONLY, "is a replica, which takes no writes", _TO_PRIMARY),
        RedisRefusal(RefusalCode.UNBLOCKED, "became a replica", _TO_PRIMARY),
        RedisRefusal(RefusalCode.MASTERDOWN, "is a replica that has lost its primary", _TO_PRIMARY),
        RedisRefusal(
            RefusalCode.LOADING, "is loading its data", "wait until it has loaded its data"
        ),
        RedisRefusal(
            RefusalCode.NOPERM,
            "lacks a right for the user of KNOUDS_REDIS_URL",
            "give the user the rights that `knouds-worker doctor` names",
            needs_operator=True,
        ),
        RedisRefusal(RefusalCode.NOAUTH, "wants a password", _PASSWORD, needs_operator=True),
        RedisRefusal(
            RefusalCode.WRONGPASS,
            "refuses the user or the password",
            _PASSWORD,
            needs_operator=True,
        ),
        RedisRefusal(
            RefusalCode.DENIED,
            "is in protected mode",
            "set a password, or bind Redis to the loopback address",
            needs_operator=True,
        ),
        RedisRefusal(RefusalCode.CLUSTERDOWN, "is a cluster that is down", _NO_CLUSTER),
        RedisRefusal(RefusalCode.TRYAGAIN, "is a cluster that moves keys", _NO_CLUSTER),
        *(
            RedisRefusal(code, "is a cluster", _NO_CLUSTER, needs_operator=True)
            for code in (RefusalCode.MOVED, RefusalCode.ASK, RefusalCode.CROSSSLOT)
        ),
        RedisRefusal(
            RefusalCode.MAXCLIENTS,
            "has reached its maxclients",
            "raise maxclients, or end clients that are not needed",
        ),
        RedisRefusal(
            RefusalCode.SENTINEL,
            "is a Sentinel, which stores nothing",
            "begin KNOUDS_REDIS_URL with redis+sentinel:// and name the service after the hosts, as"
            " redis+sentinel://host:26379/main/0",
            needs_operator=True,
        ),
        RedisRefusal(
            RefusalCode.NOSCRIPT,
            "forgets its scripts as soon as they are loaded",
            "find the client that runs SCRIPT FLUSH again and again, and end it",
        ),
        RedisRefusal(
            RefusalCode.RECOVERING,
            "came back with other data, and the workers write back what it lost",
            "repeat it in a few seconds",
        ),
        RedisRefusal(
            RefusalCode.CERTIFICATE,
            "has a certificate that is not trusted, or is for another host",
            "correct the certificate, or ssl_ca_certs and the host in KNOUDS_REDIS_URL",
        ),
        RedisRefusal(
            RefusalCode.UNREACHABLE,
            "does not answer",
            "start it, or correct KNOUDS_REDIS_URL",
        ),
    )
}

_BY_CLASS: Final[dict[type[RedisError], RefusalCode]] = {
    OutOfMemoryError: RefusalCode.OOM,
    ReadOnlyError: RefusalCode.READONLY,
    NoPermissionError: RefusalCode.NOPERM,
    BusyLoadingError: RefusalCode.LOADING,
    NoScriptError: RefusalCode.NOSCRIPT,
}
"""redis-py makes these classes of a first word, and removes it from the text."""

_WITHOUT_WORD: Final = (
    RefusalCode.MAXCLIENTS,
    RefusalCode.CERTIFICATE,
    RefusalCode.UNREACHABLE,
)
_WORDS: Final = "|".join(code for code in RefusalCode if code not in _WITHOUT_WORD)
_FIRST_WORD: Final = re.compile(rf"(?:^|: -)({_WORDS})\b")
_NO_RIGHT: Final = re.compile(
    r"ACL failure in script|The user executing the script can't|has no permissions|No permissions"
)
"""What Redis says of missing rights inside a script: 8, 6.2 and 7, and of a key."""

MAX_CLIENTS: Final = "max number of clients reached"
_NO_DATABASE: Final = re.compile(r"unknown command .?SELECT", re.IGNORECASE)
"""What a Sentinel replies where the address names a database."""
_NO_CERTIFICATE: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate is not valid for")
_NO_PASSWORD_GIVEN: Final = "Authentication required"  # noqa: S105


def redis_refusal(error: BaseException | str) -> RedisRefusal | None:
    """Why Redis did not do what was asked, from an exception or from the text of an error.

    None if it is no such case: another error of Redis, which is a bug of ours or damage to a key.
    """
    code = _code_of_text(error) if isinstance(error, str) else _code_of(error)
    return None if code is None else _REFUSALS[code]


def is_recovering(error: BaseException) -> bool:
    """Whether Redis came back with other data, which may not be relied on yet."""
    refusal = redis_refusal(error)
    return refusal is not None and refusal.code is RefusalCode.RECOVERING


def error_word(error: BaseException) -> str:
    """The word for logs: Redis' first word where it refuses, else the class of the error."""
    refusal = redis_refusal(error)
    if refusal is None or refusal.code is RefusalCode.UNREACHABLE:
        return type(error).__name__
    return refusal.code.value


def _code_of(error: BaseException) -> RefusalCode | None:
    for kind, code in _BY_CLASS.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, AuthenticationError):
        needs_login = _NO_PASSWORD_GIVEN in str(error)
        return RefusalCode.NOAUTH if needs_login else RefusalCode.WRONGPASS
    if isinstance(error, RedisError) and (found := _code_of_text(str(error))) is not None:
        return found
    if isinstance(error, ConnectionError | TimeoutError | OSError):
        shown = f"{error} {error.__cause__ or error.__context__ or ''}"
        is_untrusted = _NO_CERTIFICATE.search(shown) is not None
        return RefusalCode.CERTIFICATE if is_untrusted else RefusalCode.UNREACHABLE
    return None


def _code_of_text(text: str) -> RefusalCode | None:
    if (found := _FIRST_WORD.search(text)) is not None:
        return RefusalCode(found[1])
    if _NO_RIGHT.search(text) is not None:
        return RefusalCode.NOPERM
    if _NO_DATABASE.search(text) is not None:
        return RefusalCode.SENTINEL
    return RefusalCode.MAXCLIENTS if MAX_CLIENTS in text else None
