"""A worker and the API, put together from the settings."""
