"""The HTTP API: thin handlers over intake, desk and review."""

from worker.api.app import create_app
from worker.api.server import running, serve

__all__ = ["create_app", "running", "serve"]
