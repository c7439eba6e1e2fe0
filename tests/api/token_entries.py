"""Tokens whose secret follows from their name, as a file of tokens has them."""

from typing import Final

from pydantic import SecretStr

from config.values import ApiToken, Role

Entry = dict[str, object]

TENANT_TOKENS: Final[tuple[Entry, ...]] = (
    {"name": "red-app", "role": "enqueue", "tenant": "red"},
    {"name": "red-own", "role": "enqueue", "tenant": "red", "own": True},
    {"name": "red-new-name", "role": "enqueue", "tenant": "red"},
    {"name": "red-ops", "role": "operate", "tenant": "red"},
    {"name": "blue-app", "role": "enqueue", "tenant": "blue"},
    {"name": "blue-own", "role": "enqueue", "tenant": "blue", "own": True},
    {"name": "blue-ops", "role": "operate", "tenant": "blue"},
    {"name": "app", "role": "enqueue"},
    {"name": "other-app", "role": "enqueue"},
)
OPERATOR: Final = ApiToken("ops", Role.OPERATE, SecretStr("ops-0123456789abcdef"))
"""Of no tenant."""


def secret_of(name: str) -> str:
    """The secret of the token with this name."""
    return f"{name}-0123456789abcdef"


def bearer(name: str) -> dict[str, str]:
    """The header that sends it."""
    return {"Authorization": f"Bearer {secret_of(name)}"}
