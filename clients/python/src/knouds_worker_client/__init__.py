"""Hand paid, long runs to a knouds-worker, and get their results."""

from . import models
from .async_client import AsyncClient
from .callbacks import Callback, verify_callback
from .client import Client
from .errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectionFailed,
    InvalidCallback,
    JobCancelled,
    JobDead,
    JobNotSucceeded,
    JobParked,
    KnoudsWorkerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnavailableError,
    WaitTimeout,
)
from .events import Event
from .retries import RetryPolicy

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Callback",
    "Client",
    "ConflictError",
    "ConnectionFailed",
    "Event",
    "InvalidCallback",
    "JobCancelled",
    "JobDead",
    "JobNotSucceeded",
    "JobParked",
    "KnoudsWorkerError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RetryPolicy",
    "UnavailableError",
    "WaitTimeout",
    "models",
    "verify_callback",
]
