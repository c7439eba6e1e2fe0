"""`KNOUDS_API_TOKENS_FILE`: what a file may say, and the line that names what is wrong."""

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.environment import load
from config.settings import SettingsError
from config.token_file import TokenFileError, read_token_file
from config.values import ApiToken, Grants, Role, TokenLimits

SECRET = "0123456789abcdef"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
APP: dict[str, object] = {"name": "app", "role": "enqueue", "secret": SECRET}


def write(folder: Path, *entries: object) -> Path:
    path = folder / "tokens.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_token_has_what_its_entry_says_and_not_its_secret(tmp_path: Path) -> None:
    entry = APP | {
        "tenant": "studio",
        "own": True,
        "accounts": ["default"],
        "kinds": ["model"],
        "targets": ["studio-*"],
        "expires_at": "2030-01-31T09:30:00Z",
        "limits": {"enqueues_per_s": 2.5, "open_jobs": 10, "open_bytes": 1000},
    }
    (token,) = read_token_file(write(tmp_path, entry))
    limits = TokenLimits(enqueues_per_s=2.5, open_jobs=10, open_bytes=1000)
    grants = Grants("studio", True, ("default",), ("model",), ("studio-*",), limits)
    assert token == ApiToken("app", Role.ENQUEUE, None, DIGEST, 1896082200.0, grants)
    assert SECRET not in repr(token)
    assert DIGEST not in repr(token)


def test_a_digest_names_the_same_secret(tmp_path: Path) -> None:
    hashed = {"name": "app", "role": "enqueue", "sha256": DIGEST.upper()}
    of_digest = read_token_file(write(tmp_path, hashed))
    assert of_digest == read_token_file(write(tmp_path, APP))


WRONG: list[tuple[object, str]] = [
    ({"role": "read", "secret": SECRET}, "entry 2: name is missing: give 1 to 64 letters"),
    (APP | {"name": "a b"}, "entry 2: name must be 1 to 64 letters, digits, _ . -"),
    (APP | {"name": "b", "role": "boss"}, "entry 2 (b): role must be one of enqueue, watch"),
    (APP | {"name": "b", "secret": "short"}, "entry 2 (b): secret must be 16 or more"),
    (APP | {"name": "b", "secret": 12345}, "entry 2 (b): secret must be 16 or more"),
    ({"name": "b", "role": "read"}, "entry 2 (b): secret: give either secret or sha256"),
    (APP | {"name": "b", "sha256": DIGEST}, "entry 2 (b): secret: give either secret or"),
    ({"name": "b", "role": "read", "sha256": "ab"}, "entry 2 (b): sha256 must be the SHA-256"),
    (APP | {"name": "b", "tenant": "A B"}, "entry 2 (b): tenant must be at most 32"),
    (APP | {"name": "b", "own": "yes"}, "entry 2 (b): own must be true or false"),
    (APP | {"name": "b", "own": True}, "entry 2 (b): own: needs a tenant"),
    (APP | {"name": "b", "role": "read", "tenant": "t", "own": True}, "own: is for the role"),
    (APP | {"name": "b", "accounts": []}, "entry 2 (b): accounts must be a list of account"),
    (APP | {"name": "b", "accounts": ["x", "A"]}, "accounts[1] must be a list of account"),
    (APP | {"name": "b", "kinds": ["video"]}, "entry 2 (b): kinds[0] must be a list of model"),
    (APP | {"name": "b", "targets": ["a/b"]}, "entry 2 (b): targets[0] must be a list of"),
    (APP | {"name": "b", "expires_at": "2030-01-31"}, "expires_at: must be a time with a zone"),
    (APP | {"name": "b", "limits": {"open_jobs": -1}}, "limits.open_jobs must be a whole"),
    (APP | {"name": "b", "limits": {"jobs": 1}}, "'limits.jobs' is not known; there are enq"),
    (APP | {"name": "b", "tenants": "t"}, "entry 2 (b): 'tenants' is not known; there are"),
    (APP, "entry 2 (app): name is given twice; rename one"),
    (APP | {"name": "b"}, "entry 2 (b): secret is that of 'app'; give each its own"),
    ("app:read:secret", "entry 2: is not an object; write name, role and secret"),
]


@pytest.mark.parametrize(("entry", "message"), WRONG)
def test_a_wrong_entry_is_named_with_its_field(tmp_path: Path, entry: object, message: str) -> None:
    with pytest.raises(TokenFileError) as raised:
        read_token_file(write(tmp_path, APP, entry))
    assert message in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON (Expecting value at line 1 column 1); write a list of objects"),
        ("{}", "not a JSON list; write a list of objects"),
        ('[{"name": "a", "name": "b"}]', "a name appears twice in one object"),
        ("[" * 100_000, "not JSON"),
        ("\udcff", "not JSON"),
    ],
)
def test_a_file_that_is_no_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TokenFileError) as raised:
        read_token_file(path)
    assert message in str(raised.value)


def test_a_wrong_file_stops_the_start_with_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, APP | {"role": "boss"})
    with pytest.raises(SettingsError) as raised:
        load({"KNOUDS_API_TOKENS_FILE": str(path)}, None)
    assert str(raised.value) == (
        "KNOUDS_API_TOKENS_FILE: entry 1 (app): role must be one of enqueue, watch, read, operate"
    )


def test_the_file_and_the_environment_share_no_name_and_no_secret(tmp_path: Path) -> None:
    own = ApiToken("ops", Role.OPERATE, SecretStr(SECRET))
    with pytest.raises(TokenFileError, match="secret is that of 'ops'"):
        read_token_file(write(tmp_path, APP), (own,))
    with pytest.raises(TokenFileError, match="name is given twice"):
        read_token_file(write(tmp_path, APP | {"name": "ops", "secret": SECRET * 2}), (own,))


def test_with_a_file_of_tokens_other_machines_may_be_served(tmp_path: Path) -> None:
    environ = {"KNOUDS_HTTP_HOST": "10.0.0.1", "KNOUDS_API_TOKENS_FILE": str(write(tmp_path, APP))}
    load(environ, None).require_tokens()
