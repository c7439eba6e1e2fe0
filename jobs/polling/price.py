"""The price of a look, where an account may not look as often as its runs would like.

One price for all runs of an account shares the looks by need: a look is taken where it saves at
least that much delay, whoever's run it is, so the last look of every run saves about the same.
"""

from typing import Final

TARGET_UTILISATION: Final = 0.9
"""The part of the allowed rate that is aimed at: chance puts some looks close together."""

MIN_PRICE_S: Final = 0.02
"""The price at which looks begin to be scarce, in seconds of delay."""

MAX_PRICE_S: Final = 3_600.0

MAX_STEP_FACTOR: Final = 4.0
"""The price moves by this factor at most in one step."""


def adjusted_price_s(price_s: float, wanted_per_s: float, allowed_per_s: float | None) -> float:
    """The next price, in seconds of delay a look, 0 where looks are not scarce.

    `wanted` is the rate of looks that all runs in flight come to at the present price, `allowed`
    what the account may, both a second; None: as often as it likes. Looks go with 1/√price, so the
    square of what is too much closes the gap in one step, or in a few where that is large.
    """
    if allowed_per_s is None or allowed_per_s <= 0:
        return 0.0
    excess = wanted_per_s / (TARGET_UTILISATION * allowed_per_s)
    if price_s == 0.0 and excess <= 1:
        return 0.0
    factor = min(MAX_STEP_FACTOR, max(1 / MAX_STEP_FACTOR, excess * excess))
    price = max(price_s, MIN_PRICE_S) * factor if excess > 1 else price_s * factor
    return 0.0 if price < MIN_PRICE_S else min(MAX_PRICE_S, price)
