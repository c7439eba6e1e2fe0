"""Members of a body and headers, read tolerantly: a value of another type counts as absent.

A body is decoded into raw JSON members, and each member is read on its own: one odd member does not
cost the others, and the bytes of a result are never decoded.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, field

from worker.provider.http import text
from worker.provider.knouds.strict_json import strict_text

MAX_CODE_CHARS: Final = 100
MAX_ID_CHARS: Final = 256

CAPABILITY: Final = re.compile(r"[A-Za-z0-9*:._-]{1,64}")

MAX_WAIT_S: Final = 3600.0
"""A longer `Retry-After` is cut to this: the provider's windows are 60 s."""

_AGREE_S: Final = 5.0
"""Seconds within which clocks count as equal."""

_PLAUSIBLE_S: Final = 86_400.0
"""Seconds by which clocks may differ."""

_UNIX_MILLISECONDS: Final = 1e11
"""A larger number is no time in Unix seconds: those end in the year 5138."""

_SEVERAL: Final = re.compile(r"[A-Za-z]{3,9}, [^,]+|[^,]+")
"""A date or a number, of several that are joined by commas."""

_ABSENT: Final = Raw()


class ResponseBody(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Every member that is read of responses and deliveries, as raw JSON."""

    is_async: Raw = field(name="_async", default=_ABSENT)
    success: Raw = _ABSENT
    execution_id: Raw = _ABSENT
    request_id: Raw = _ABSENT
    status: Raw = _ABSENT
    event: Raw = _ABSENT
    webhook_delivery: Raw = _ABSENT
    result: Raw = _ABSENT
    cost: Raw = _ABSENT
    ms: Raw = _ABSENT
    error: Raw = _ABSENT
    code: Raw = _ABSENT
    message: Raw = _ABSENT
    required: Raw = _ABSENT
    attempted: Raw = _ABSENT
    provider_status: Raw = _ABSENT
    retry_after: Raw = _ABSENT
    user: Raw = _ABSENT


class _Nested(msgspec.Struct, frozen=True, gc=False):
    """`error: {code, message}` and `webhookDelivery: {configured}`."""

    code: Raw = _ABSENT
    message: Raw = _ABSENT
    configured: Raw = _ABSENT


class WhoamiUser(msgspec.Struct, frozen=True, gc=False):
    """`user` of the response to whoami, as raw JSON."""

    id: Raw = _ABSENT
    email: Raw = _ABSENT
    role: Raw = _ABSENT
    tier: Raw = _ABSENT
    approved: Raw = _ABSENT


_body = msgspec.json.Decoder(ResponseBody)
_user = msgspec.json.Decoder(WhoamiUser)
_nested = msgspec.json.Decoder(_Nested)
_text = msgspec.json.Decoder(str | int)
_texts = msgspec.json.Decoder(list[str])
_number = msgspec.json.Decoder(float)
_flag = msgspec.json.Decoder(bool)
_any = msgspec.json.Decoder()

_T = TypeVar("_T")

_BOM: Final = b"\xef\xbb\xbf"

_ESCAPES: Final = re.compile(
    rb"\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a surrogate pair: valid
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half a pair: invalid
    rb"|\\.",
    re.DOTALL,
)
SECRETS: Final = re.compile(r"(knouds_[a-z]+_|whsec_)[\w-]+")
"""API keys and webhook secrets of Knouds; the group is what may show."""

_PAGE_HEAD_BYTES: Final = 65_536
_HTML: Final = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head)\b", re.IGNORECASE | re.DOTALL
)
_ACCESS_WORDS: Final = re.compile(
    rb"type=[\"']?password|\blog\s?-?in\b|\bsign\s?-?in\b|captcha|verify (that )?you are (a )?human"
    rb"|challenge-platform|just a moment",
    re.IGNORECASE,
)
"""Words of login pages, captive portals and bot checks."""
_WANTS_TLS: Final = re.compile(
    rb"plain HTTP request was sent to HTTPS port"  # nginx; the texts of others differ:
    rb"|speaking plain HTTP to an SSL-enabled server port"  # Apache
    rb"|HTTP request to an HTTPS server"  # Go: Caddy, Traefik
    rb"|combination of host and port requires TLS",  # Tomcat
    re.IGNORECASE,
)
MAX_PORT: Final = 65_535

_ORIGIN: Final = re.compile(
    r"https?://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?(?=[/?#]|$)",
    re.IGNORECASE,
)
"""Scheme, host and port; one with a user name or password in it does not match."""

_EMPTY_RESULT: Final = re.compile(rb'\s*(?:null|false|""|\{\s*\}|\[\s*\])?\s*')


def read_body(body: bytes) -> ResponseBody | None:
    """Read a body that should be a JSON object; None if it is not.

    Half a surrogate pair or a broken UTF-8 byte, as in a text cut off upstream, becomes U+FFFD, and
    `NaN` a string: one bad character or number must not make a paid result unreadable.
    """
    body = body.removeprefix(_BOM)
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            body = body.decode(errors="replace").encode()
    members = decode(_body, body)
    if members is None:
        repaired = _ESCAPES.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)
        members = None if repaired == body else decode(_body, repaired)
        if members is None and repaired.lstrip()[:1] == b"{":
            members = decode(_body, strict_text(repaired))
    return members


def decode(decoder: msgspec.json.Decoder[_T], raw: Raw | bytes) -> _T | None:
    """Decode JSON; None if it is no JSON, or not of the decoder's type."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def read_text(raw: Raw) -> str | None:
    """Read a text, or an integer as text; None for anything else and for blanks."""
    value = decode(_text, raw)
    return None if value is None else str(value).strip() or None


def read_id(raw: Raw) -> str | None:
    """Read an id; None if it is too long, not printable, or has spaces.

    Every role sees ids, and a sentence may quote the inputs.
    """
    value = read_text(raw)
    if not value or len(value) > MAX_ID_CHARS or not value.isprintable():
        return None
    return None if any(char.isspace() for char in value) else value


def read_code(raw: Raw, *, allow_numbers: bool = False) -> str | None:
    """Read a constant of the provider, letter for letter."""
    if not allow_numbers and not bytes(raw).startswith(b'"'):
        return None
    value = read_text(raw)
    return value[:MAX_CODE_CHARS] if value and value.isprintable() else None


def read_capabilities(raw: Raw) -> str | None:
    """Read the missing capability, or a list of them joined by commas.

    Each is a word of the characters that capabilities have: every role sees what an operator must
    do, and a sentence may quote the inputs.
    """
    several = read_texts(raw)
    if several is None:
        several = (read_text(raw) or "",)
    words = [word for word in several if CAPABILITY.fullmatch(word)]
    return ", ".join(words)[:MAX_ID_CHARS] or None


def read_number(raw: Raw) -> float | None:
    """Read a finite number, 0 or more."""
    value = decode(_number, raw)
    return value if value is not None and value >= 0 and math.isfinite(value) else None


def read_flag(raw: Raw) -> bool:
    """Whether it is `true`."""
    return decode(_flag, raw) or False


def read_optional_flag(raw: Raw) -> bool | None:
    """Read `true` or `false`; None for anything else."""
    return decode(_flag, raw)


def read_user(raw: Raw) -> WhoamiUser | None:
    """Read `user` of the response to whoami; None if it is not an object."""
    return decode(_user, raw)


def read_email_domain(raw: Raw) -> str | None:
    """Read what stands behind the last `@` of an e-mail address; the rest is not kept."""
    _, at, domain = (read_id(raw) or "").rpartition("@")
    return domain.lower() if at and domain else None


def is_false(raw: Raw) -> bool:
    """Whether it is `false`; an absent member is not."""
    return bytes(raw) == b"false"


def read_names(body: ResponseBody) -> tuple[str | None, str | None]:
    """Read which run a response is about: execution id and request id, where it names them."""
    return read_id(body.execution_id), read_id(body.request_id)


def read_texts(raw: Raw) -> tuple[str, ...] | None:
    """Read a list of texts."""
    texts = decode(_texts, raw)
    return None if texts is None else tuple(texts)


def read_result(raw: Raw) -> bytes | None:
    """Copy the bytes of a result, see `strict_json`; None if it is empty, `null` or `false`."""
    result = bytes(raw)
    if _EMPTY_RESULT.fullmatch(result):
        return None
    return strict_text(result) if decode(_any, result) is None else result


def read_webhook_configured(raw: Raw) -> bool:
    """Whether `webhookDelivery.configured` is true: a delivery will come."""
    delivery = decode(_nested, raw)
    return delivery is not None and read_flag(delivery.configured)


def read_error(body: ResponseBody) -> tuple[str | None, str]:
    """Read code and message, from `error: {code, message}` or from `error` and `code`."""
    code, message = read_code(body.code), read_text(body.error)
    error = decode(_nested, body.error)
    if error is not None:
        code, message = code or read_code(error.code), read_text(error.message)
    sentence = code if code and " " in code else None  # it is shown as a message, not as a code
    return code, sanitize(message or read_text(body.message) or sentence or "")


def is_error(body: ResponseBody) -> bool:
    """Whether it has the form of the provider's errors: `error` with a text, or a `code`.

    A `message` or `detail` alone is the form of gateways and of other servers.
    """
    code, message = read_error(body)
    return code is not None or (bool(message) and bytes(body.error) not in (b"", b"null"))


def sanitize(value: str) -> str:
    """Return a text as one printable line of at most 500 characters, without secrets."""
    return text.sanitize(value, SECRETS)


def is_html(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body is an HTML page, or its head says so."""
    return "html" in headers.get("content-type", "").lower() or _HTML.match(body) is not None


def wants_tls(body: bytes) -> bool:
    """Whether a page says that plain HTTP was sent to a port that speaks TLS."""
    return _WANTS_TLS.search(body[:_PAGE_HEAD_BYTES]) is not None


def is_access_page(body: bytes) -> bool:
    """Whether a body is an HTML page that asks to log in, or for a proof of being human."""
    head = body[:_PAGE_HEAD_BYTES]
    return _HTML.match(head) is not None and _ACCESS_WORDS.search(head) is not None


def read_location(value: str | None) -> str | None:
    """Read scheme and host of an absolute `Location`; None for anything else."""
    found = _ORIGIN.match((value or "").strip())
    if found is None or int(found[1] or 0) > MAX_PORT:
        return None
    return found[0].lower()


def read_count(value: str | None) -> int | None:
    """Read a header that holds an integer, 0 or more."""
    number = _to_float(_first(value))
    return None if number is None or number < 0 else int(number)


def read_retry_after(
    status: int, headers: Mapping[str, str], raw: Raw, now: float | None
) -> float | None:
    """Seconds to wait, 0 to an hour: the longest of `Retry-After` and of the body's `retryAfter`.

    Dates (RFC 9110, section 10.2.3) count from the response's own `Date`, since clocks differ, or
    from `now` (Unix seconds). For a 429 with neither, or with 0, the time until the window ends.
    """
    start = _start(headers, now)
    waits = [read_number(raw)]
    for value in _SEVERAL.findall(headers.get("retry-after", "")):
        wait = _to_float(value)
        if wait is None and start is not None:
            retry_at = _to_unix(value)
            wait = None if retry_at is None else retry_at - start
        waits.append(wait)
    wait = max((wait for wait in waits if wait is not None), default=None)
    if (wait or 0) <= 0 and start is not None and status == 429:  # noqa: PLR2004
        reset_at = read_reset(headers, start)
        wait = wait if reset_at is None else reset_at - start
    return None if wait is None else min(max(wait, 0.0), MAX_WAIT_S)


def read_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Read `X-RateLimit-Reset`: when the window ends, in the time of `now` (Unix seconds).

    Documented as Unix seconds, which count from the response's own `Date`; seconds from now, and
    milliseconds of both, are told apart by their size. A time in the past counts as `now`. None for
    a time more than an hour away.
    """
    value = _to_float(_first(headers.get("x-ratelimit-reset")))
    if value is None:
        return None
    if value >= _UNIX_MILLISECONDS:
        value /= 1000
    elif MAX_WAIT_S < value <= MAX_WAIT_S * 1000:
        value /= 1000  # no window lasts for an hour
    if value > MAX_WAIT_S:
        start = _start(headers, now) or now
        # `Date` has whole seconds: between clocks that agree it would only move the window's end.
        value -= start if abs(start - now) > _AGREE_S else now
    return None if value > MAX_WAIT_S else now + max(value, 0.0)


def _start(headers: Mapping[str, str], now: float | None) -> float | None:
    """The response's own `Date`; `now` without one, and for one a day off, as of a cache."""
    date = _to_unix(headers.get("date"))
    if date is None or (now is not None and abs(date - now) > _PLAUSIBLE_S):
        return now
    return date


def _first(value: str | None) -> str | None:
    """The first of several equal headers."""
    return value.partition(",")[0] if value else None


def _to_float(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _to_unix(value: str | None) -> float | None:
    """Read an HTTP date (RFC 9110, section 5.6.7)."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None
