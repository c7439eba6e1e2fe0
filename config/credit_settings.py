"""The settings about credits, and about what runs are compared with before they cost some."""

from typing import Annotated, Literal

from pydantic import Field

from config.values import AnyCase

DefaultEstimate = Annotated[
    Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None,
    Field(
        description="the credits that a run is estimated at, at least: a number, 0 or more;"
        " without it, the cost of a target that has not run and has no price is unknown"
    ),
]

EnqueueChecksMode = Annotated[
    Literal["off", "warn", "refuse"],
    AnyCase,
    Field(
        description="what becomes of a job whose workflow or inputs are not as the provider lists"
        " them: off compares nothing, warn takes it with warnings, refuse answers 422"
    ),
]
