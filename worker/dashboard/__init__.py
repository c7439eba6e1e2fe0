"""The dashboard: pages rendered on the server, over the same parts as the API."""

from worker.dashboard.routes import add_pages

__all__ = ["add_pages"]
