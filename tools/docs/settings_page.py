"""The settings as a page for people: `docs/settings.md` is what `render()` returns."""

from pathlib import Path
from typing import Final

from config.settings import PREFIX, Settings

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
Scopes in `KNOUDS_LANE_CAPS` are `account`, `account/kind` or `account/kind/target`; the narrowest
that covers a lane counts, and `*` covers every lane. Roles in `KNOUDS_API_TOKENS` are `enqueue`,
`watch` (sees all but inputs and results), `read` and `operate`, each with the rights of those
before it; a secret has 16 characters or more. `KNOUDS_HTTP_PROXIED` is for an API that can be
reached through the proxy alone. Without tokens the API serves this machine alone, and listening on
another address is refused. `KNOUDS_WEBHOOK_SECRET` belongs to the API, which receives the
provider's webhooks, and to every worker, which then polls runs that have one only rarely. While a
secret is being changed, name the old and the new one with a comma between; a secret itself may hold
none.
"""


def render() -> str:
    """The page, as Markdown."""
    return HEAD + "".join(_row(name) for name in Settings.model_fields) + TAIL


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    meaning = (field.description or "").replace("|", r"\|")
    return f"| `{PREFIX}{name.upper()}` | {_shown(field.default)} | {meaning} |\n"


def _shown(default: object) -> str:
    match default:
        case None:
            return "–"
        case tuple() | dict() if not default:
            return "–"
        case bool():
            return f"`{str(default).lower()}`"
        case float():
            return f"`{default:g}`"
        case str() | int() | Path():
            return f"`{default}`"
        case _:
            raise TypeError(f"no way to show a default of type {type(default).__name__}")
