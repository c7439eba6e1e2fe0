"""The tokens of the API: those of the environment, and of a file that may change meanwhile."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from config.token_file import TokenFileError, read_token_file
from config.values import ApiToken, secret_digest
from worker.clock import Clock

log: Final = structlog.get_logger(__name__)

FileVersion = tuple[int, int, int, int]
"""Inode, size, and the times of the last change: another version of a file differs in one."""


class ApiTokens:
    """Finds the valid token with a secret or a name.

    A changed file is read again with the next request. While it cannot be read, its tokens stay
    those of before.
    """

    def __init__(self, tokens: Sequence[ApiToken], clock: Clock, file: Path | None = None) -> None:
        self._own = tuple(tokens)
        self._file = file
        self._clock = clock
        self._version: FileVersion | None = None
        self._is_readable = True
        self._by_digest: dict[str, ApiToken] = {}
        self._by_name: dict[str, ApiToken] = {}
        self._set(())
        self._read_changes()

    @property
    def is_empty(self) -> bool:
        """Whether there are no tokens and no file that may name some."""
        return not self._own and self._file is None

    def find(self, secret: str) -> ApiToken | None:
        """The token with this secret, unless it has expired. Time reveals nothing but a digest."""
        self._read_changes()
        return self._unless_expired(self._by_digest.get(secret_digest(secret)))

    def named(self, name: str) -> ApiToken | None:
        """The token of this name, unless it has expired."""
        self._read_changes()
        return self._unless_expired(self._by_name.get(name))

    def _unless_expired(self, token: ApiToken | None) -> ApiToken | None:
        if token is None or token.expires_at is None:
            return token
        return token if self._clock.now() < token.expires_at else None

    def _read_changes(self) -> None:
        if self._file is None:
            return
        try:
            found = self._file.stat()
            version = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        except OSError as error:
            self._report(f"{self._file} cannot be read ({error.strerror})")
            self._version = None
            return
        if version == self._version:
            return
        self._version = version
        try:
            self._set(read_token_file(self._file, self._own))
        except TokenFileError as error:
            self._report(str(error))
        else:
            self._is_readable = True

    def _set(self, of_file: Sequence[ApiToken]) -> None:
        tokens = (*self._own, *of_file)
        self._by_digest = {token.sha256: token for token in tokens}
        self._by_name = {token.name: token for token in tokens}
        if self._file is not None and self._version is not None:
            log.info("api_tokens.read", tokens=len(of_file))

    def _report(self, problem: str) -> None:
        """Log a problem with the file, once until it is readable or changes again."""
        if self._is_readable or self._version is not None:
            log.error("api_tokens.not_read", problem=problem, action="the tokens of before stay")
        self._is_readable = False
