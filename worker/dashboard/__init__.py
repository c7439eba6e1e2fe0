"""The dashboard: pages rendered on the server, with the same use cases as the API."""

from worker.dashboard.pages.login import problem_page
from worker.dashboard.routes import add_pages

__all__ = ["add_pages", "problem_page"]
