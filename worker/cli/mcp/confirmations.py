"""Confirmation tokens: what a dry run showed, bound to exactly the action that it was for.

A token is good once, for one caller, for the same arguments, and for some minutes. It is kept in
the memory of this process alone: after a restart the dry run is made again.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

import msgspec

from worker.cli.exit_codes import CommandFailure
from worker.cli.text import Doc

VALID_S: Final = 300.0
"""How long a person has to decide."""
MAX_TOKENS: Final = 1_000
"""Tokens kept at a time; the oldest give way."""

CONFIRM: Final = "confirm"


class ConfirmationRefused(CommandFailure):
    """A token that is not good for this call."""


@dataclass(frozen=True, slots=True)
class _Issued:
    caller: str
    action: str
    seen: Doc
    expires_at: float


class Confirmations:
    """The tokens that are out. Times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._issued: dict[str, _Issued] = {}

    def issue(self, caller: str, tool: str, arguments: Doc, seen: Doc, now: float) -> str:
        """A token for a call of a tool that was previewed as `seen`."""
        while len(self._issued) >= MAX_TOKENS:
            del self._issued[next(iter(self._issued))]
        token = secrets.token_urlsafe(18)
        action = _digest(tool, arguments)
        self._issued[token] = _Issued(caller, action, seen, now + VALID_S)
        return token

    def redeem(self, token: str, caller: str, tool: str, arguments: Doc, now: float) -> Doc:
        """What the dry run of this call saw; the token is used up. Raises `ConfirmationRefused`."""
        issued = self._issued.get(token)
        if issued is None or issued.caller != caller:
            raise ConfirmationRefused(
                f"{CONFIRM}: is no token that waits for you: it was used already, or this server"
                f" was started again; call without `{CONFIRM}` for a new dry run"
            )
        if issued.expires_at < now:
            del self._issued[token]
            raise ConfirmationRefused(
                f"{CONFIRM}: has expired after {VALID_S / 60:.0f} minutes; call without"
                f" `{CONFIRM}` for a new dry run"
            )
        if issued.action != _digest(tool, arguments):
            raise ConfirmationRefused(
                f"{CONFIRM}: is of another action or of other arguments: send those of its dry run,"
                f" or call without `{CONFIRM}` for a new one"
            )
        del self._issued[token]
        return issued.seen


def _digest(tool: str, arguments: Doc) -> str:
    given = {
        name: value for name, value in arguments.items() if name != CONFIRM and value is not None
    }
    return hashlib.sha256(msgspec.json.encode([tool, given], order="deterministic")).hexdigest()
