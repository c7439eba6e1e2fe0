"""Settings of single sign-on: the header with the user, and which groups have which role."""

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from config.trusted_proxies import TrustedProxies
from config.values import JsonObject, Role

_NAME: Final = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)+")
_TAKEN: Final = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"})
MAX_GROUP_CHARS: Final = 200


def groups_header(auth_header: str) -> str:
    """The header with the groups: that of the user, its last word replaced.

    >>> groups_header("X-Forwarded-Email"), groups_header("Remote-User")
    ('X-Forwarded-Groups', 'Remote-Groups')
    """
    return auth_header.rpartition("-")[0] + "-Groups"


def _header(value: str) -> str:
    if not _NAME.fullmatch(value) or value.lower() in _TAKEN or value.lower().endswith("-groups"):
        raise ValueError("is not the name of a header with a user, as X-Forwarded-Email")
    return value


def _groups(value: Mapping[str, Role]) -> Mapping[str, Role]:
    for name in value:
        if not 0 < len(name) <= MAX_GROUP_CHARS or "," in name or name != name.strip():
            raise ValueError(f"has a group that is empty, too long, or with a comma: {name[:40]!r}")
    return value


AuthHeader = Annotated[
    Annotated[str, AfterValidator(_header)] | None,
    Field(
        description="the header in which an authenticating proxy (KNOUDS_TRUSTED_PROXIES) names the"
        " user, as X-Forwarded-Email; the groups come in X-Forwarded-Groups then"
    ),
]
AuthGroups = Annotated[
    dict[str, Annotated[Role, Field(strict=False)]],
    JsonObject,
    AfterValidator(_groups),
    Field(description='a JSON object of group to role, as {"ops": "operate", "everyone": "watch"}'),
]


def check_sign_on(header: str | None, groups: Mapping[str, Role], trusted: TrustedProxies) -> None:
    """Raise ValueError with one line where the settings of single sign-on do not go together."""
    if header is None and groups:
        raise ValueError("KNOUDS_AUTH_GROUPS: needs KNOUDS_AUTH_HEADER, which names the user")
    if header is not None and not groups:
        raise ValueError("KNOUDS_AUTH_HEADER: needs KNOUDS_AUTH_GROUPS, or nobody has a role")
    if header is not None and trusted == TrustedProxies():
        raise ValueError(
            "KNOUDS_AUTH_HEADER: needs KNOUDS_TRUSTED_PROXIES, or anyone could send the header"
        )
