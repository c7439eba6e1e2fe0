"""What Redis says when it refuses, as its versions phrase it, and the code that is read from it."""

import ssl
from typing import Any, cast

import pytest
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.store.refusals import RefusalCode, error_word, redis_refusal

IN_SCRIPT_6 = "ERR Error running script (call to f_92): @user_script:1: @user_script: 1: "
IN_SCRIPT_7 = " script: 9282fe9cd1ad17b421df71a1d74837df7d50241a, on @user_script:1."
IN_SCRIPT_VALKEY = " script: on @user_script:1."

REPLIES = [
    ("NOREPLICAS", "NOREPLICAS Not enough good replicas to write."),
    ("OOM", "OOM command not allowed when used memory > 'maxmemory'."),
    ("MISCONF", "MISCONF Errors writing to the AOF file: No space left on device"),
    ("READONLY", "READONLY You can't write against a read only replica."),
    ("BUSY", "BUSY Redis is busy running a script. You can only call SCRIPT KILL."),
    ("MASTERDOWN", "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'."),
    ("CLUSTERDOWN", "CLUSTERDOWN Hash slot not served"),
    ("TRYAGAIN", "TRYAGAIN Multiple keys request during rehashing of slot"),
    ("MOVED", "MOVED 3999 127.0.0.1:6381"),
    ("CROSSSLOT", "CROSSSLOT Keys in request don't hash to the same slot"),
    ("LOADING", "LOADING Redis is loading the dataset in memory"),
    ("UNBLOCKED", "UNBLOCKED force unblock from blocking operation, instance state changed"),
]
"""First words, which 7 and later also put first in the error of a script."""

RIGHTS = [
    "NOPERM this user has no permissions to run the 'set' command or its subcommand",
    "NOPERM No permissions to access a channel",
    IN_SCRIPT_6 + "The user executing the script can't run this command or subcommand",
    IN_SCRIPT_6
    + "The user executing the script can't publish to the channel mentioned in the command",
    "ERR The user executing the script can't run this command or subcommand" + IN_SCRIPT_7,
    "ERR ACL failure in script: User u has no permissions to run the 'set' command" + IN_SCRIPT_7,
    "ERR ACL failure in script: No permissions to access a channel" + IN_SCRIPT_VALKEY,
]


def parse(reply: str) -> RedisError:
    """The exception that redis-py makes of an error reply."""
    error = cast("Any", DefaultParser).parse_error(reply)
    assert isinstance(error, RedisError)
    return error


@pytest.mark.parametrize(("word", "reply"), REPLIES)
def test_the_first_word_is_found_wherever_a_server_puts_it(word: str, reply: str) -> None:
    """As a reply, as the error of a script of three servers, and as a text in a script's reply."""
    forms = [reply, IN_SCRIPT_6 + "-" + reply, reply + IN_SCRIPT_7, reply + IN_SCRIPT_VALKEY]
    texts = [*forms, f"@user_script: 1: -{reply}\r\n"]
    errors: list[RedisError | str] = [*map(parse, forms), *texts]
    for error in errors:
        found = redis_refusal(error)
        assert found is not None, error
        assert found.code == word
        assert found.reason.endswith(f"({word})")
    assert {error_word(parse(form)) for form in forms} == {word}


@pytest.mark.parametrize("reply", RIGHTS)
def test_a_missing_right_is_noperm_however_a_server_says_it(reply: str) -> None:
    for error in (parse(reply), reply, reply.removeprefix("ERR ")):
        found = redis_refusal(error)
        assert found is not None
        assert found.code is RefusalCode.NOPERM


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", RefusalCode.WRONGPASS),
        ("NOAUTH Authentication required.", RefusalCode.NOAUTH),
        ("DENIED Redis is running in protected mode", RefusalCode.DENIED),
        ("ERR max number of clients reached", RefusalCode.MAXCLIENTS),
    ],
)
def test_a_refused_login_or_connection_has_its_code(reply: str, code: RefusalCode) -> None:
    found = redis_refusal(parse(reply))
    assert found is not None
    assert found.code is code


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Connection closed by server."),
        RedisTimeoutError("Timeout reading from 127.0.0.1:6379"),
        ConnectionRefusedError(111, "Connect call failed"),
        TimeoutError(),
    ],
)
def test_a_server_that_does_not_answer_is_unreachable(error: Exception) -> None:
    found = redis_refusal(error)
    assert found is not None
    assert found.code is RefusalCode.UNREACHABLE
    assert error_word(error) == type(error).__name__


@pytest.mark.parametrize(
    "error",
    [
        parse("WRONGTYPE Operation against a key holding the wrong kind of value"),
        parse("ERR commit.lua: unknown operation Z"),
        parse("ERR value is not an integer: OOM"),
        ValueError("NOREPLICAS"),
    ],
)
def test_damage_and_bugs_are_no_refusals(error: Exception) -> None:
    """They are logged as errors, and no client is told to wait."""
    assert redis_refusal(error) is None
    assert error_word(error) == type(error).__name__


def test_a_certificate_that_is_not_accepted_is_no_outage() -> None:
    """As redis-py words it: the error of the library is the cause."""
    error = RedisConnectionError("Error 1 connecting to redis:6379. [SSL] certificate verify")
    error.__cause__ = ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] expired")
    refusal = redis_refusal(error)
    assert refusal is not None
    assert refusal.code is RefusalCode.CERTIFICATE
    assert "ssl_ca_certs" in refusal.fix
