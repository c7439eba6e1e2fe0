"""The HTTP API: thin handlers over intake, desk and review."""

from worker.web.app import create_app
from worker.web.server import running, serve

__all__ = ["create_app", "running", "serve"]
