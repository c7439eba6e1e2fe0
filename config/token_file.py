"""Reads the tokens of `KNOUDS_API_TOKENS_FILE`; of their secrets only the digests are kept."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from config.token_limits import LimitsEntry
from config.values import (
    HEADER_SAFE,
    LABEL,
    TOKEN_NAME,
    TOKEN_SECRET_MIN_CHARS,
    ApiToken,
    Grants,
    Role,
    secret_digest,
)

MAX_FILE_BYTES: Final = 1 << 20
MAX_NAMES: Final = 1_000
"""Accounts or targets of one token."""

TARGET_PATTERN: Final = re.compile(r"[a-z0-9*-]{1,128}")


class TokenFileError(ValueError):
    """The file cannot be used: one line that names the entry, the field and the fix."""


def _matching(pattern: re.Pattern[str]) -> Any:
    return Field(pattern=f"^(?:{pattern.pattern})$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _Entry(_Part):
    """One token. A wrong value is answered with the description of its field."""

    name: Annotated[
        Annotated[str, _matching(TOKEN_NAME)],
        Field(description="1 to 64 letters, digits, _ . -"),
    ]
    role: Annotated[
        Annotated[Role, Field(strict=False)],
        Field(description=f"one of {', '.join(Role)}"),
    ]
    secret: Annotated[
        Annotated[str, Field(min_length=TOKEN_SECRET_MIN_CHARS), _matching(HEADER_SAFE)] | None,
        Field(description=f"{TOKEN_SECRET_MIN_CHARS} or more printable characters without spaces"),
    ] = None
    sha256: Annotated[
        Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None,
        Field(description="the SHA-256 of the secret, 64 hexadecimal digits"),
    ] = None
    tenant: Annotated[
        Annotated[str, _matching(re.compile(f"|{LABEL.pattern}"))],
        Field(description="at most 32 of a-z 0-9 _ -, starting with a letter or digit"),
    ] = ""
    own: Annotated[bool, Field(description="true or false")] = False
    accounts: Annotated[
        Annotated[list[Annotated[str, _matching(LABEL)]], Field(min_length=1, max_length=MAX_NAMES)]
        | None,
        Field(description="a list of account labels"),
    ] = None
    kinds: Annotated[
        Annotated[list[Literal["model", "workflow"]], Field(min_length=1)] | None,
        Field(description="a list of model and workflow"),
    ] = None
    targets: Annotated[
        Annotated[
            list[Annotated[str, _matching(TARGET_PATTERN)]],
            Field(min_length=1, max_length=MAX_NAMES),
        ]
        | None,
        Field(description="a list of targets; a * stands for any characters, as studio-*"),
    ] = None
    expires_at: Annotated[
        str | None,
        Field(description="a time with a zone, as 2030-01-31T09:30:00Z"),
    ] = None
    limits: Annotated[
        LimitsEntry,
        Field(description=f"an object with some of {', '.join(LimitsEntry.model_fields)}"),
    ] = LimitsEntry()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.secret is None) == (self.sha256 is None):
            raise ValueError("secret: give either secret or sha256")
        if self.own and self.role is not Role.ENQUEUE:
            raise ValueError(f"own: is for the role enqueue; the role {self.role} reads without it")
        if self.own and not self.tenant:
            raise ValueError("own: needs a tenant, whose jobs are those it may read")
        if self.expires_at is not None and _unix_time(self.expires_at) is None:
            raise ValueError("expires_at: must be a time with a zone, as 2030-01-31T09:30:00Z")
        return self

    def token(self) -> ApiToken:
        """The token, without its secret."""
        grants = Grants(
            tenant=self.tenant,
            own=self.own,
            accounts=_as_tuple(self.accounts),
            kinds=_as_tuple(self.kinds),
            targets=_as_tuple(self.targets),
            limits=self.limits.limits(),
        )
        digest = (self.sha256 or secret_digest(self.secret or "")).lower()
        expires_at = None if self.expires_at is None else _unix_time(self.expires_at)
        return ApiToken(self.name, self.role, None, digest, expires_at, grants)


def _as_tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _unix_time(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def read_token_file(path: Path, others: Sequence[ApiToken] = ()) -> tuple[ApiToken, ...]:
    """The tokens of a file, whose names and secrets differ from each other and from `others`.

    Raises TokenFileError. It never shows a secret.
    """
    found: list[ApiToken] = []
    for number, entry in enumerate(_read_list(path), start=1):
        token = _read_entry(number, entry)
        for other in (*others, *found):
            if other.name == token.name:
                raise TokenFileError(f"{_shown(number, entry)}: name is given twice; rename one")
            if other.sha256 == token.sha256:
                field = "sha256" if "sha256" in entry else "secret"
                raise TokenFileError(
                    f"{_shown(number, entry)}: {field} is that of {other.name!r}; give each its own"
                )
        found.append(token)
    return tuple(found)


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFileError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) > MAX_FILE_BYTES:
        raise TokenFileError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        decoded: object = json.loads(data, object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        what = error.args[0] if isinstance(error, TokenFileError) else "not JSON"
        if isinstance(error, json.JSONDecodeError):
            what = f"not JSON ({error.msg} at line {error.lineno} column {error.colno})"
        raise TokenFileError(f"{path}: {what}; write a list of objects") from None
    if not isinstance(decoded, list):
        raise TokenFileError(f"{path}: not a JSON list; write a list of objects")
    return cast("list[dict[str, Any]]", decoded)


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    decoded = dict(pairs)
    if len(decoded) != len(pairs):
        raise TokenFileError("a name appears twice in one object")
    return decoded


def _read_entry(number: int, entry: object) -> ApiToken:
    if not isinstance(entry, dict):
        raise TokenFileError(f"entry {number}: is not an object; write name, role and secret")
    try:
        return _Entry.model_validate(entry).token()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        problem = _problem(first["type"], first["loc"], first["msg"])
        shown = _shown(number, cast("dict[str, object]", entry))
        raise TokenFileError(f"{shown}: {problem}") from None


def _problem(kind: str, loc: tuple[int | str, ...], message: str) -> str:
    """What is wrong, with the field; never the value, which may be a secret."""
    if not loc:
        return message.removeprefix("Value error, ")
    model: type[BaseModel] = _Entry
    name, *inside = map(str, loc)
    path = name
    if name == "limits" and inside:
        model, (name, *inside) = LimitsEntry, inside
        path = f"limits.{name}"
    path += "".join(f"[{part}]" for part in inside if part.isdecimal())
    if kind == "extra_forbidden":
        return f"{path[:64]!r} is not known; there are {', '.join(model.model_fields)}"
    expected = model.model_fields[name].description
    return (
        f"{path} is missing: give {expected}" if kind == "missing" else f"{path} must be {expected}"
    )


def _shown(number: int, entry: dict[str, object]) -> str:
    """The entry's number, with its name where that is a proper one."""
    name = entry.get("name")
    if isinstance(name, str) and TOKEN_NAME.fullmatch(name):
        return f"entry {number} ({name})"
    return f"entry {number}"
