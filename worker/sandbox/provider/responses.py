"""What the provider decides about a call, as values that the server carries out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from worker.sandbox.faults.fault_table import FaultBehaviour, SandboxFault, documented_reply
from worker.sandbox.provider.replies import HTML, SandboxReply, proxy_page
from worker.sandbox.provider.runs import SandboxRun
from worker.sandbox.provider.timers import Delivery


@dataclass(frozen=True, slots=True)
class SendReply:
    """Send `reply`, after `webhooks_first` and then `delay_s`."""

    reply: SandboxReply
    delay_s: float = 0.0
    webhooks_first: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishSync:
    """A sync run: wait for its end, then send its result."""

    run: SandboxRun
    fault: SandboxFault | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class DropConnection:
    """Close the connection without a byte."""

    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HangConnection:
    """Keep the connection open and never answer."""


_SUCCESS = range(200, 300)

SandboxResponse: TypeAlias = SendReply | FinishSync | DropConnection | HangConnection


class SandboxRefusal(Exception):
    """Ends a call before it takes effect; `response` is sent."""

    def __init__(self, response: SandboxResponse) -> None:
        super().__init__()
        self.response = response


def refused(code: str, **fields: object) -> SandboxRefusal:
    """Return the refusal with the documented response of a code and its context fields."""
    return SandboxRefusal(SendReply(documented_reply(code, **fields)))


def apply_before(fault: SandboxFault | None) -> None:
    """Raise `SandboxRefusal` for a fault that applies before the call takes effect."""
    if fault is None:
        return
    if fault.reply is not None and not fault.spec.started:
        raise SandboxRefusal(SendReply(fault.reply, fault.spec.delay_s))
    if fault.behaviour is FaultBehaviour.DROP_BEFORE:
        raise SandboxRefusal(DropConnection(fault.spec.delay_s))
    if fault.behaviour is FaultBehaviour.HANG_BEFORE:
        raise SandboxRefusal(HangConnection())


def apply_after(fault: SandboxFault | None, response: SandboxResponse) -> SandboxResponse:
    """Return the response to a call that took effect, with `fault` applied to it."""
    if fault is None:
        return response
    if fault.reply is not None:
        return SendReply(fault.reply, fault.spec.delay_s)
    if fault.behaviour is FaultBehaviour.DROP_AFTER:
        return DropConnection(fault.spec.delay_s)
    if fault.behaviour is FaultBehaviour.HANG:
        return HangConnection()
    match response:
        case SendReply():
            reply = garble_reply(fault, response.reply)
            return replace(response, reply=reply, delay_s=fault.spec.delay_s)
        case FinishSync():
            return replace(response, fault=fault)
        case DropConnection() | HangConnection():
            return response
        case _:
            assert_never(response)


def garble_reply(fault: SandboxFault | None, reply: SandboxReply) -> SandboxReply:
    """Return `reply` with a fault of form applied; a refusal stays as it is."""
    if fault is None or reply.status not in _SUCCESS:
        return reply
    if fault.behaviour is FaultBehaviour.TRUNCATED_JSON:
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    if fault.behaviour is FaultBehaviour.HTML_200:
        return replace(reply, status=200, body=proxy_page(200).body, content_type=HTML)
    if fault.behaviour is FaultBehaviour.EMPTY_BODY:
        return replace(reply, body=b"")
    if fault.behaviour is FaultBehaviour.ACCEPTED_202:
        return replace(reply, status=202)
    return reply
