"""Bits of an answer, read tolerantly: what is not of the expected type counts as absent.

Every member of a body is taken as raw JSON first and read on its own afterwards, so that one odd
member never costs the others, and a result's bytes are never decoded at all.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec
from msgspec import Raw, field

MAX_MESSAGE_CHARS: Final = 500
MAX_CODE_CHARS: Final = 100
MAX_ID_CHARS: Final = 256

MAX_WAIT_S: Final = 3600.0
"""A `Retry-After` beyond this is taken as this: the provider's windows are 60 s."""

_ABSENT: Final = Raw()


class ResponseBody(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Every member of the provider's answers and deliveries that we read, as raw JSON."""

    is_async: Raw = field(name="_async", default=_ABSENT)
    success: Raw = _ABSENT
    execution_id: Raw = _ABSENT
    request_id: Raw = _ABSENT
    status: Raw = _ABSENT
    event: Raw = _ABSENT
    webhook_delivery: Raw = _ABSENT
    result: Raw = _ABSENT
    cost: Raw = _ABSENT
    error: Raw = _ABSENT
    code: Raw = _ABSENT
    message: Raw = _ABSENT
    required: Raw = _ABSENT
    attempted: Raw = _ABSENT
    provider_status: Raw = _ABSENT
    retry_after: Raw = _ABSENT
    user_id: Raw = _ABSENT
    tier: Raw = _ABSENT
    capabilities: Raw = _ABSENT
    name: Raw = _ABSENT
    description: Raw = _ABSENT
    estimated_credit_cost: Raw = _ABSENT


class _Nested(msgspec.Struct, frozen=True, gc=False):
    """`error: {code, message}` and `webhookDelivery: {configured}`."""

    code: Raw = _ABSENT
    message: Raw = _ABSENT
    configured: Raw = _ABSENT


_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)

_body = msgspec.json.Decoder(ResponseBody)
_nested = msgspec.json.Decoder(_Nested)
_text = msgspec.json.Decoder(str | int)
_texts = msgspec.json.Decoder(list[str])
_number = msgspec.json.Decoder(float)
_flag = msgspec.json.Decoder(bool)

_BOM: Final = b"\xef\xbb\xbf"

_ESCAPES: Final = re.compile(
    rb"\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: fine
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one: no text at all
    rb"|\\.",
    re.DOTALL,
)
_SECRETS: Final = re.compile(r"(knouds_[a-z]+_|whsec_)[\w-]+")
_EMPTY_RESULT: Final = re.compile(rb'\s*(?:null|false|""|\{\s*\}|\[\s*\])?\s*')


def read_body(body: bytes) -> ResponseBody | None:
    """Read the JSON object that the contract promises; None where it is not one.

    Half a surrogate pair or a broken UTF-8 byte, as in a text cut off upstream, becomes U+FFFD: one
    bad character must not make a paid result unreadable.
    """
    body = body.removeprefix(_BOM)
    if not body.isascii() and not _is_utf8(body):
        body = body.decode(errors="replace").encode()
    try:
        return _body.decode(body)
    except _UNREADABLE:
        pass
    mended = _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)
    if mended == body:
        return None
    try:
        return _body.decode(mended)
    except _UNREADABLE:
        return None


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_text(raw: Raw) -> str | None:
    """Read a text, or a whole number as one; None for anything else and for blanks."""
    try:
        return str(_text.decode(raw)).strip() or None
    except _UNREADABLE:
        return None


def read_id(raw: Raw) -> str | None:
    """Read an id that can be put into a URL and on record."""
    found = read_text(raw)
    return found if found and len(found) <= MAX_ID_CHARS and found.isprintable() else None


def read_code(raw: Raw, *, allow_numbers: bool = False) -> str | None:
    """Read a constant of the provider, letter for letter; a number only where that is usual."""
    if not allow_numbers and not bytes(raw).startswith(b'"'):
        return None
    found = read_text(raw)
    return found[:MAX_CODE_CHARS] if found and found.isprintable() else None


def read_capabilities(raw: Raw) -> str | None:
    """Read the capability that is missing, or the list of them."""
    several = read_texts(raw)
    text = read_text(raw) if several is None else ", ".join(several)
    return sanitize(text)[:MAX_ID_CHARS] or None if text else None


def read_number(raw: Raw) -> float | None:
    """Read a number that is neither negative nor out of range."""
    try:
        found = _number.decode(raw)
    except _UNREADABLE:
        return None
    return found if found >= 0 and math.isfinite(found) else None


def read_flag(raw: Raw) -> bool:
    """Whether it is `true`."""
    try:
        return _flag.decode(raw)
    except _UNREADABLE:
        return False


def is_false(raw: Raw) -> bool:
    """Whether it is `false`, and not merely absent."""
    return bytes(raw) == b"false"


def read_texts(raw: Raw) -> tuple[str, ...] | None:
    """Read a list of texts."""
    try:
        return tuple(_texts.decode(raw))
    except _UNREADABLE:
        return None


def read_result(raw: Raw) -> bytes | None:
    """Copy a result out as it stands; None where there is nothing to use in it."""
    result = bytes(raw)
    return None if _EMPTY_RESULT.fullmatch(result) else result


def read_webhook_configured(raw: Raw) -> bool:
    """Whether `webhookDelivery` says that a webhook will come."""
    try:
        return read_flag(_nested.decode(raw).configured)
    except _UNREADABLE:
        return False


def read_error(body: ResponseBody) -> tuple[str | None, str]:
    """Read the code and the message, from `error: {code, message}` or from `error` and `code`."""
    code, message = read_code(body.code), read_text(body.error)
    try:
        error = _nested.decode(body.error)
    except _UNREADABLE:
        pass
    else:
        code, message = code or read_code(error.code), read_text(error.message)
    return code, sanitize(message or read_text(body.message) or "")


def sanitize(text: str) -> str:
    """Make a text fit for a record and a terminal: one line, no keys, 500 characters at most."""
    text = _SECRETS.sub(r"\1…", text[: 4 * MAX_MESSAGE_CHARS])
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def read_count(value: str | None) -> int | None:
    """Read a header that holds a whole number, 0 or more."""
    found = _to_float(value)
    return None if found is None or found < 0 else int(found)


def read_retry_after(
    status: int, headers: Mapping[str, str], raw: Raw, now: float | None
) -> float | None:
    """Seconds to wait, 0 to an hour: `Retry-After` (RFC 9110, section 10.2.3), else `retryAfter`.

    A 429 without either waits for the window's end. Dates count from `now`, or from the answer's
    own `Date` where the caller has no clock.
    """
    value = headers.get("retry-after")
    wait = _to_float(value)
    start = now if now is not None else _to_unix(headers.get("date"))
    if wait is None and start is not None:
        until = _to_unix(value)
        wait = None if until is None else until - start
    if wait is None:
        wait = read_number(raw)
    if wait is None and start is not None and status == 429:  # noqa: PLR2004
        reset_at = read_reset(headers.get("x-ratelimit-reset"), start)
        wait = None if reset_at is None else reset_at - start
    return None if wait is None else min(max(wait, 0.0), MAX_WAIT_S)


def read_reset(value: str | None, now: float) -> float | None:
    """Read `X-RateLimit-Reset` (Unix seconds) as a moment within the next hour.

    What lies in the past has happened: now. What lies beyond an hour is not understood.
    """
    found = _to_float(value)
    if found is None or found > now + MAX_WAIT_S:
        return None
    return max(found, now)


def _to_float(value: str | None) -> float | None:
    try:
        found = float(value or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _to_unix(value: str | None) -> float | None:
    """Read an HTTP date (RFC 9110, section 5.6.7)."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None
