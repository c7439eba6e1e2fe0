"""The settings about credits."""

from typing import Annotated

from pydantic import Field

DefaultEstimate = Annotated[
    Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None,
    Field(
        description="the credits that a run is estimated at, at least: a number, 0 or more;"
        " without it, the cost of a target that has not run and has no price is unknown"
    ),
]
