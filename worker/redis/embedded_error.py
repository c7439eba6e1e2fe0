"""The error of the embedded server."""


class EmbeddedRedisError(Exception):
    """One line for the operator: what is wrong and what to do."""
