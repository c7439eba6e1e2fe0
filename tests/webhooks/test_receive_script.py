"""`receive.lua`: its head comment is true, and its wrapper calls it as documented."""

import re
from typing import Any, cast

from arq import ArqRedis

from worker.store.client import Argument, Client
from worker.store.keys import Keys
from worker.store.payload_cipher import NO_CIPHER
from worker.store.scripts import Scripts, source
from worker.store.webhooks import ReceiveResult, WebhookStore


class SentCommands(Client):
    """A client that records commands."""

    def __init__(self) -> None:
        super().__init__(cast("ArqRedis", None))
        self.sent: list[tuple[Argument, ...]] = []

    async def call(self, *command: Argument) -> Any:
        self.sent.append(command)
        return b"new"


def _head(part: str) -> list[str]:
    """The numbers that the head comment documents for KEYS or ARGV."""
    lines = [line for line in source("receive").splitlines() if line.startswith("--")]
    (text,) = [line for line in lines if line.startswith(f"-- {part}:")]
    return re.findall(r"(?:: |, )(\d+) ", text)


async def test_the_wrapper_sends_what_the_head_comment_documents() -> None:
    client, keys = SentCommands(), Keys("t")
    store = WebhookStore(client, keys, Scripts(client), NO_CIPHER)
    assert await store.receive("ex", "execution.completed", b"{}", 1.5) is ReceiveResult.NEW
    ((name, _, count, *rest),) = client.sent
    assert (name, count) == ("EVALSHA", 4)
    assert rest[:4] == ["t:delivery:ex", "t:inbox", "t:execution:ex", "t:delivered"]
    assert rest[4:] == ["e:execution.completed", b"1.5 {}", "ex", 1.5, 604_800]
    assert _head("KEYS") == ["1", "2", "3", "4"]
    assert _head("ARGV") == ["1", "2", "3", "4", "5"]


def test_it_names_no_key_itself_and_its_answers_are_known() -> None:
    calls = re.findall(r'redis\.call\("\w+", ([^,)]+)', source("receive"))
    assert calls
    assert all(re.fullmatch(r"KEYS\[\d\]", key) for key in calls)
    assert set(re.findall(r'(?:return|or) "(\w+)"', source("receive"))) == set(ReceiveResult)
