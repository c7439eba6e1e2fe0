"""Renders the settings as `docs/settings.md`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final, cast

from config.callback_hosts import CallbackHosts
from config.callback_settings import CallbackSettings
from config.secret_files import FILE_SUFFIX, SECRET_FIELDS
from config.settings import PREFIX, SHUTDOWN_MARGIN_S, Settings, variable_name
from config.trusted_proxies import TrustedProxies
from config.values import TokenLimits

HEAD: Final = """\
<!-- Generated from tools/docs/settings_page.py, do not edit: make docs -->

# Settings

Read once, at the start, from the environment and from `.env` in the current folder; the
environment wins, and an empty value counts as not set. A value that is wrong, or a `KNOUDS_…` name
that does not exist, stops the start with one line that names it. Times are seconds, sizes are
bytes.

| variable | default | a good value is |
|---|---|---|
"""

TAIL: Final = """
- Scopes in `KNOUDS_LANE_CAPS` are `account`, `account/kind` or `account/kind/target`. The narrowest
  scope that covers a lane applies; `*` covers every lane.
- Roles in `KNOUDS_API_TOKENS` are `enqueue`, `watch` (sees everything except inputs and results),
  `read` and `operate`; each includes those before it. A secret has at least 16 characters.
- A secret can stand in a file instead, as container platforms offer it: `KNOUDS_API_KEY_FILE` names
  the file with the value of `KNOUDS_API_KEY`. The others are {FILES}.
  Setting both is an error.
- `KNOUDS_API_TOKENS_FILE` is described in [operations](operations.md#access).
- Without tokens the API serves only this machine, and refuses to listen on another address.
- `KNOUDS_TRUSTED_PROXIES` as a number is for an API that can be reached through these proxies only:
  who reaches it another way chooses the address that it sees. Networks are safe in any case.
- Set `KNOUDS_WEBHOOK_SECRET` for the API, which receives the provider's webhooks, and for every
  worker, which then polls runs with a webhook only rarely. To replace a secret, give the old and
  the new one separated by a comma; a secret itself contains no comma.
"""


_DERIVED: Final = {
    "shutdown_grace_s": f"`KNOUDS_SYNC_TIMEOUT_S` + {SHUTDOWN_MARGIN_S:g}"
    f" ({Settings().shutdown_grace_s:g})",
}
"""Defaults that follow from another setting."""


def render() -> str:
    """The page, as Markdown."""
    files = [f"`{variable_name(name)}{FILE_SUFFIX}`" for name in SECRET_FIELDS if name != "api_key"]
    tail = TAIL.replace("{FILES}", ", ".join(files))
    return HEAD + "".join(map(_row, _names())) + tail


def _names() -> list[str]:
    """The settings in the order of the page: those of a base class follow the others."""
    inherited = list(CallbackSettings.model_fields)
    return [name for name in Settings.model_fields if name not in inherited] + inherited


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    meaning = (field.description or "").replace("|", r"\|")
    default = _DERIVED.get(name) or _shown(field.default)
    return f"| `{PREFIX}{name.upper()}` | {default} | {meaning} |\n"


def _shown(default: object) -> str:
    match default:
        case None | TrustedProxies():
            return "–"
        case tuple() | dict() if not default:
            return "–"
        case bool():
            return f"`{str(default).lower()}`"
        case float():
            return f"`{default:g}`"
        case CallbackHosts():
            return "–"
        case TokenLimits():
            return f"`{json.dumps(asdict(default))}`"
        case tuple():
            return f"`{','.join(map(str, cast('tuple[object, ...]', default)))}`"
        case str() | int() | Path():
            return f"`{default}`"
        case _:
            raise TypeError(f"no way to show a default of type {type(default).__name__}")
