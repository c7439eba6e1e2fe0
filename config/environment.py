"""Reads the settings from the environment and `.env`, and says in a line what is wrong."""

import difflib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.secret_files import FILE_SUFFIX, SECRET_FIELDS, values_with_files
from config.settings import PREFIX, Settings, SettingsError, variable_name

# JSON settings whose keys may appear in a message. A label of `api_keys` may not: if label and key
# were swapped, it is a secret.
_SHOWN_KEYS_OF = ("lane_caps", "fair_key_caps", "error_rules")


def load(
    environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """The settings from `environ` (default: the environment of the process) and `env_file`.

    `environ` takes precedence. An empty value counts as not set; names without our prefix are
    ignored. Raises SettingsError.
    """
    found = {**_from_file(env_file), **(os.environ if environ is None else environ)}
    given = {
        name: value.strip() for name, value in found.items() if name.upper().startswith(PREFIX)
    }
    for name in given:
        _require_known(name)
    values = values_with_files({_field_name(name): value for name, value in given.items() if value})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error, values)) from None


def _from_file(path: Path | None) -> dict[str, str]:
    """Read `NAME=value` lines. A `$` is kept: secrets may contain one."""
    if path is None or not path.is_file():
        return {}
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for binding in parse_stream(lines):
                if binding.error or (binding.key and binding.value is None):
                    raise SettingsError(
                        f"{path} line {binding.original.line}: not NAME=value; fix or remove it"
                    )
                if binding.key and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__}); fix it") from None
    return found


def _field_name(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower()


def known_variables() -> list[str]:
    """Every variable that is read."""
    files = [variable_name(field) + FILE_SUFFIX for field in SECRET_FIELDS]
    return [variable_name(field) for field in Settings.model_fields] + files


def _require_known(name: str) -> None:
    known = known_variables()
    if name in known:
        return
    close = difflib.get_close_matches(name.upper(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "remove it, or see docs/settings.md"
    raise SettingsError(f"{name}: there is no such setting; {hint}")


def _explain(error: ValidationError, given: Collection[str]) -> str:
    """The first error in one line, followed by the names of the other wrong settings.

    A setting that is not given is wrong only because its default depends on one that is.
    """
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    own = [details for details in errors if not details["loc"] or details["loc"][0] in given]
    first, *others = (_error_line(details) for details in own or errors)
    also = sorted({line.partition(":")[0] for line in others} - {first.partition(":")[0]})
    return f"{first} (also wrong: {', '.join(also)})" if also else first


def _error_line(error: ErrorDetails) -> str:
    message = (
        error["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    )
    if not error["loc"]:  # a rule over several settings names them itself
        return message
    field, *inside = (str(part) for part in error["loc"] if part != "[key]")
    shown = inside[:1] if field in _SHOWN_KEYS_OF else []
    return ": ".join(
        [
            variable_name(field),
            *map(repr, shown),
            f"{message}; expected: {Settings.model_fields[field].description}",
        ]
    )
