"""What the provider decides about a call, for the shell to carry out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from worker.sandbox.faults.catalogue import Act, Fault
from worker.sandbox.provider.replies import HTML, Reply, proxy_page
from worker.sandbox.provider.runs import Run
from worker.sandbox.provider.timers import Delivery


@dataclass(frozen=True, slots=True)
class Answer:
    """Send `reply`, after `delay_s` and after the webhooks in `first`."""

    reply: Reply
    delay_s: float = 0.0
    first: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """A sync run: wait for its end, then answer with what it became."""

    run: Run
    fault: Fault | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection without a byte."""

    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hang:
    """Keep the connection open and never answer."""


_SUCCESS = range(200, 300)

Verdict: TypeAlias = Answer | Finish | Drop | Hang


def before(fault: Fault) -> Verdict | None:
    """Return the verdict of a fault that strikes before the call takes effect, or None."""
    if fault.reply is not None and not fault.started:
        return Answer(fault.reply, fault.spec.delay_s)
    if fault.act is Act.DROP_BEFORE:
        return Drop(fault.spec.delay_s)
    if fault.act is Act.HANG_BEFORE:
        return Hang()
    return None


def after(fault: Fault | None, verdict: Verdict) -> Verdict:
    """Return what a fault makes of the verdict of a call that took effect."""
    if fault is None:
        return verdict
    if fault.reply is not None:
        return Answer(fault.reply, fault.spec.delay_s)
    if fault.act is Act.DROP_AFTER:
        return Drop(fault.spec.delay_s)
    if fault.act is Act.HANG:
        return Hang()
    match verdict:
        case Answer():
            reply = garble(fault, verdict.reply)
            return replace(verdict, reply=reply, delay_s=fault.spec.delay_s)
        case Finish():
            return replace(verdict, fault=fault)
        case Drop() | Hang():
            return verdict
        case _:
            assert_never(verdict)


def garble(fault: Fault | None, reply: Reply) -> Reply:
    """Return `reply` as it looks after a fault of form; a refusal stays as it is."""
    if fault is None or reply.status not in _SUCCESS:
        return reply
    if fault.act is Act.TRUNCATED_JSON:
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    if fault.act is Act.HTML_200:
        return replace(reply, status=200, body=proxy_page(200).body, content_type=HTML)
    if fault.act is Act.EMPTY_BODY:
        return replace(reply, body=b"")
    if fault.act is Act.ACCEPTED_202:
        return replace(reply, status=202)
    return reply
