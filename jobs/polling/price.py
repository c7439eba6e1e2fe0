"""The price of a poll, for accounts that may poll less often than their runs need.

One price for all runs of an account distributes polls by need: a poll is made where it saves at
least that much delay, whichever run it is for.
"""

from typing import Final

TARGET_UTILISATION: Final = 0.9
"""The share of the allowed rate that is aimed at, because some polls coincide by chance."""

MIN_PRICE_S: Final = 0.02
"""The least price other than 0, in seconds of delay per poll."""

MAX_PRICE_S: Final = 3_600.0

MAX_STEP_FACTOR: Final = 4.0
"""The price changes at most by this factor in one step."""


def adjusted_price_s(price_s: float, wanted_per_s: float, allowed_per_s: float | None) -> float:
    """The next price, in seconds of delay per poll; 0 if polls are not scarce.

    `wanted_per_s` is the poll rate of all runs in flight at the current price, `allowed_per_s` the
    rate that the account may use (None: no limit). The number of polls is proportional to 1/√price,
    so a factor of excess² closes the gap in one step, or in a few if the gap is large.
    """
    if allowed_per_s is None or allowed_per_s <= 0:
        return 0.0
    excess = wanted_per_s / (TARGET_UTILISATION * allowed_per_s)
    if price_s == 0.0 and excess <= 1:
        return 0.0
    factor = min(MAX_STEP_FACTOR, max(1 / MAX_STEP_FACTOR, excess * excess))
    price = max(price_s, MIN_PRICE_S) * factor if excess > 1 else price_s * factor
    return 0.0 if price < MIN_PRICE_S else min(MAX_PRICE_S, price)
