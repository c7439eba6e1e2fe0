"""What the audit keeps of a change to inputs: the paths, and a keyed digest, never a value."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from worker.store.audit import AuditLog
from worker.store.audit_chain import AuditChain
from worker.store.codec import DECODE_ERRORS, decode, encode

MAX_PATHS: Final = 50
MAX_PATH_CHARS: Final = 200
MAX_DEPTH: Final = 20


def changed_inputs(before: bytes | None, after: bytes, audit: AuditLog) -> str:
    """The audit's note on new inputs, as JSON."""
    return _note(_paths(_decoded(before), _decoded(after), "", 0), after, audit.chain)


def patch_note(patch: Mapping[str, Any] | None, audit: AuditLog) -> str:
    """The audit's note on a merge patch, as JSON: what it sets or removes; empty for None."""
    return "" if patch is None else _note(_paths({}, patch, "", 0), encode(patch), audit.chain)


def _note(paths: Iterator[str], text: bytes, chain: AuditChain) -> str:
    found = [path[:MAX_PATH_CHARS] for path, _ in zip(paths, range(MAX_PATHS + 1), strict=False)]
    note: dict[str, object] = {"paths": found[:MAX_PATHS]}
    if len(found) > MAX_PATHS:
        note["more"] = True
    if (digest := chain.digest(text)) is not None:
        note["digest"] = digest
    return encode(note).decode()


def _decoded(inputs: bytes | None) -> object:
    try:
        return decode(inputs or b"{}")
    except DECODE_ERRORS:
        return {}


def _paths(before: object, after: object, path: str, depth: int) -> Iterator[str]:
    """The paths of the members that differ, as `style.colours`."""
    if before == after and type(before) is type(after):
        return
    if depth >= MAX_DEPTH or not (isinstance(before, dict) and isinstance(after, dict)):
        if not (isinstance(after, dict) and after and before is None):
            yield path or "(all)"
            return
        before = {}
    old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
    for name in sorted(old.keys() | new.keys()):
        inside = f"{path}.{name}" if path else name
        if name not in old and not isinstance(new[name], dict):
            yield inside
        else:
            yield from _paths(old.get(name), new.get(name), inside, depth + 1)
