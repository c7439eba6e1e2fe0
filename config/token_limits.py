"""How much a token may enqueue: of one token in the file of tokens, and of all in the settings."""

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from config.values import TokenLimits

DEFAULT_LIMITS: Final = TokenLimits(
    enqueues_per_s=500, open_jobs=0, open_bytes=0, new_lanes_per_min=60, new_tags_per_min=6_000
)

_MAX: Final = 1 << 40
_Count = Annotated[int, Field(ge=0, le=_MAX)]


class LimitsEntry(BaseModel):
    """Limits as JSON; 0 is no limit."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    enqueues_per_s: Annotated[
        Annotated[float, Field(ge=0, le=_MAX, allow_inf_nan=False)] | None,
        Field(description="a number of jobs, or 0"),
    ] = None
    open_jobs: Annotated[_Count | None, Field(description="a whole number, or 0")] = None
    open_bytes: Annotated[_Count | None, Field(description="a whole number of bytes, or 0")] = None
    new_lanes_per_min: Annotated[_Count | None, Field(description="a whole number, or 0")] = None
    new_tags_per_min: Annotated[_Count | None, Field(description="a whole number, or 0")] = None

    def limits(self) -> TokenLimits:
        """The limits."""
        return TokenLimits(**self.model_dump())


LIMIT_NAMES: Final = tuple(LimitsEntry.model_fields)


def _parse(value: object) -> object:
    """Read a JSON object of limits; raises ValueError. Those it omits are the defaults."""
    if not isinstance(value, str):
        return value
    try:
        entry = LimitsEntry.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])[:64] if first["loc"] else ""
        known = LimitsEntry.model_fields.get(name)
        what = f"{name} must be {known.description}" if known else f"{name!r} is no limit"
        raise ValueError(what if name else "not a JSON object") from None
    return entry.limits().with_defaults(DEFAULT_LIMITS)


LimitsOfTokens = Annotated[
    TokenLimits,
    BeforeValidator(_parse),
    Field(
        description="a JSON object of how much each token may enqueue, with some of"
        f" {', '.join(LIMIT_NAMES)}; 0 is no limit;"
        " rates count in each API process"
    ),
]
