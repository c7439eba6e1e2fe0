"""The least that a project with a management command needs."""

import os

SECRET_KEY = "for the example alone"  # noqa: S105
INSTALLED_APPS = ["pictures"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", "pictures.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
