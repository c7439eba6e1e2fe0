"""Findings about who else can read the secrets and reach Redis."""

import ipaddress
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from config.redis_address import redis_passwords
from config.settings import Settings
from worker.doctor.findings import Finding, ok, warn

ENV_FILE: Final = Path(".env")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def judge_exposure(settings: Settings, env_file: Path = ENV_FILE) -> list[Finding]:
    """Judge the mode of `.env`, and the password and the encryption of a Redis elsewhere."""
    return [*_judge_env_file(env_file), *_judge_redis_url(settings)]


def _judge_env_file(path: Path) -> list[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    if not mode & _OTHERS:
        return [ok("settings.env_file", f"{path} is readable by its owner alone")]
    text = f"{path} has mode {stat.S_IMODE(mode):04o}: other users of this machine may read its"
    return [warn("settings.env_file", f"{text} secrets", f"chmod 600 {path}")]


def _judge_redis_url(settings: Settings) -> list[Finding]:
    url = settings.plain_redis_url
    if url is None or url.startswith("unix:"):
        return []
    hosts = [host for host in _hosts(settings, url) if not _is_loopback(host)]
    if not hosts:
        return []
    found: list[Finding] = []
    sentinel = settings.sentinel
    has_password = bool(redis_passwords(url)) if sentinel is None else sentinel.password is not None
    if not has_password:
        text = f"Redis at {hosts[0]} has no password: whoever reaches it reads every prompt"
        fix = "give it one (requirepass, or a user of its own) and put it in KNOUDS_REDIS_URL"
        found.append(warn("redis.password", text, fix))
    if not url.startswith("rediss"):
        text = f"Redis at {hosts[0]} is reached without TLS: its password and prompts can be read"
        fix = "use rediss:// in KNOUDS_REDIS_URL, unless the network in between is private"
        found.append(warn("redis.tls", f"{text} on the way", fix))
    return found or [ok("redis.tls", "Redis elsewhere has a password and speaks TLS")]


def _hosts(settings: Settings, url: str) -> list[str]:
    sentinel = settings.sentinel
    if sentinel is not None:
        return [host for host, _ in sentinel.nodes]
    return [urlsplit(url).hostname or ""]


def _is_loopback(host: str) -> bool:
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
