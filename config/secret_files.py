"""Secrets in files: `<name>_FILE` names a file with the value, as container platforms offer it."""

from collections.abc import Mapping
from pathlib import Path

from config.settings import SettingsError, variable_name

FILE_SUFFIX = "_FILE"
SECRET_FIELDS = (
    "api_key",
    "api_keys",
    "api_token",
    "callback_secret",
    "payload_keys",
    "proxy_url",
    "redis_url",
    "webhook_secret",
)
"""Settings whose value can stand in a file that `<name>_FILE` names, as those of containers do."""


def values_with_files(values: Mapping[str, str]) -> dict[str, str]:
    """The values, with those of secrets that stand in files; raises SettingsError."""
    found = dict(values)
    for field in SECRET_FIELDS:
        path = found.pop(field + FILE_SUFFIX.lower(), None)
        if path is None:
            continue
        name = variable_name(field) + FILE_SUFFIX
        if field in values:
            raise SettingsError(f"{variable_name(field)} and {name}: both are set; keep one")
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "not UTF-8"
            raise SettingsError(f"{name}: the file cannot be read ({why}); fix it") from None
        if not text:
            raise SettingsError(f"{name}: the file is empty; put the secret in it")
        found[field] = text
    return found
