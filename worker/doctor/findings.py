"""What a check found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """Works, but somebody should know why it may not for ever."""
    FAIL = "fail"
    """Jobs stand still, or could be lost or paid twice."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check: what is the case and, unless all is well, what to do about it.

    `name` is `group.check`: `redis.persistence`, `provider.default`.
    """

    name: str
    level: Level
    text: str
    fix: str = ""

    @property
    def group(self) -> str:
        """What the check is about: redis, clock, provider, workers, settings, integrity."""
        return self.name.partition(".")[0]


def ok(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name, Level.OK, text)


def warn(name: str, text: str, fix: str) -> Finding:
    """It works."""
    return Finding(name, Level.WARN, text, fix)


def fail(name: str, text: str, fix: str) -> Finding:
    """It does not work, or must not stay like this."""
    return Finding(name, Level.FAIL, text, fix)


def worst_level(findings: Iterable[Finding]) -> Level:
    """The verdict on all of them."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)
