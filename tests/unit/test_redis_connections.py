"""What a Redis URL sets of the connections that are made from it."""

from typing import Any

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError  # noqa: A004

from config.settings import Settings
from worker.redis.connect import connect


def pool_of(url: str) -> Any:
    return connect(Settings(redis_url=SecretStr(url))).connection_pool


def test_fields_of_the_query_are_options_of_each_connection() -> None:
    pool = pool_of("redis://u:p%3F@host:1/2?socket_timeout=7.5&client_name=knouds")
    options = pool.connection_kwargs
    assert (options["host"], options["db"], options["username"]) == ("host", 2, "u")
    assert (options["password"], options["socket_timeout"]) == ("p?", 7.5)
    assert options["client_name"] == "knouds"
    assert pool.make_connection()


@pytest.mark.parametrize(
    ("query", "is_checked"),
    [("", True), ("?ssl_check_hostname=false", False), ("?ssl_cert_reqs=none", False)],
)
@pytest.mark.parametrize("address", ["rediss://host:1/0", "rediss+sentinel://a:1/main"])
def test_over_tls_the_certificate_has_to_be_for_the_host(
    address: str, query: str, *, is_checked: bool
) -> None:
    pool = pool_of(address + query)
    assert pool.make_connection().ssl_context.check_hostname is is_checked
    sentinels: Any = pool.primary.sentinels
    for sentinel in sentinels.clients if sentinels else ():
        made = sentinel.connection_pool.make_connection()
        assert made.ssl_context.check_hostname is is_checked


def test_connections_to_a_unix_socket_can_be_made() -> None:
    pool = pool_of("unix:///run/redis.sock?db=3")
    assert pool.make_connection().path == "/run/redis.sock"
    assert pool.connection_kwargs["db"] == 3


def test_tls_behind_sentinel_has_the_logins_of_both() -> None:
    pool = pool_of(
        "rediss+sentinel://app:one@a:1,b/main/3"
        "?sentinel_username=watch&sentinel_password=two&ssl_check_hostname=true"
    )
    options = pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("app", "one", 3)
    assert options["ssl_check_hostname"] is True
    assert "SSL" in pool.connection_class.__name__
    for sentinel in pool.primary.sentinels.clients:
        asked = sentinel.connection_pool
        assert "SSL" in asked.connection_class.__name__
        login = asked.connection_kwargs["username"], asked.connection_kwargs["password"]
        assert login == ("watch", "two")
        assert asked.connection_kwargs["ssl_check_hostname"] is True


def test_sentinels_without_a_login_of_their_own_get_none() -> None:
    pool = pool_of("redis+sentinel://app:one@a:1/main")
    (sentinel,) = pool.primary.sentinels.clients
    assert sentinel.connection_pool.connection_kwargs["password"] is None
    assert "SSL" not in sentinel.connection_pool.connection_class.__name__


class _ClosedTransport:
    def writelines(self, _: object) -> None:
        raise RuntimeError("unable to perform operation on a transport; the handler is closed")

    def close(self) -> None:
        """It is closed already."""


async def test_a_send_on_a_transport_that_was_closed_is_a_lost_connection() -> None:
    """Not the RuntimeError of uvloop, which nothing retries: it ended the worker."""
    connection = pool_of("redis://host:1/0?socket_timeout=1").make_connection()
    connection._writer, connection._reader = _ClosedTransport(), object()
    with pytest.raises(ConnectionError):
        await connection.send_packed_command([b"PING"], check_health=False)
