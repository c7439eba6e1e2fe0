"""Renders the lifecycle of a job as `docs/lifecycle.md`.

The states and their meaning come from `jobs/states.py`, the transitions from `jobs/lifecycle.py`.
"""

import ast
import inspect
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from jobs import states
from jobs.lifecycle import OPERATOR_TRANSITIONS, ROWS, TransitionRow
from jobs.states import PRUNABLE, State

HEAD: Final = """\
<!-- Generated from tools/docs/lifecycle_page.py, do not edit: make docs -->

# The lifecycle of a job

One table holds every transition that a job can make: `ROWS` in
[jobs/lifecycle.py](../jobs/lifecycle.py). Anything else is refused and leaves the job unchanged.
Each transition has one constructor in [jobs/transitions](../jobs/transitions), and its name is the
name of the event in the job's history.

## Diagram

An arrow lists every transition that leads from one state to the other. Transitions that stay in
their state are in the table below only.
"""

_STATES_HEAD: Final = """\

## States

| state | meaning |
|---|---|
"""

_TABLE_HEAD: Final = """\

## Transitions

Who causes a transition: an **operator**; the **provider**, by its answer to a submit, a poll or a
webhook; the **clock**, when a due time or a deadline has passed; a **worker**, or the loss of one.

| from | transition | to | who |
|---|---|---|---|
"""

_TAIL: Final = """\

Only an operator causes these: {operator}.
"""


def render() -> str:
    """The page, as Markdown."""
    operator = ", ".join(f"`{name}`" for name in sorted(OPERATOR_TRANSITIONS))
    return "".join(
        [
            HEAD,
            *_diagram(),
            _STATES_HEAD,
            *(f"| `{state}` | {text} |\n" for state, text in _state_texts().items()),
            _TABLE_HEAD,
            *(_line(row) for row in _by_state()),
            _TAIL.format(operator=operator),
        ]
    )


def _by_state() -> list[TransitionRow]:
    """The rows in the order of the states and of the transitions."""
    order = list(State)
    return sorted(ROWS, key=lambda row: (order.index(row.state), order.index(row.next_state)))


def _diagram() -> Iterable[str]:
    """The state diagram, one arrow for each pair of states."""
    yield "\n```mermaid\nstateDiagram-v2\n"
    yield "    [*] --> queued: enqueue\n    [*] --> scheduled: enqueue\n"
    for (start, end), rows in groupby(_by_state(), key=lambda row: (row.state, row.next_state)):
        if start is not end:
            yield f"    {start} --> {end}: {', '.join(row.transition for row in rows)}\n"
    for state in State:
        if state in PRUNABLE:
            yield f"    {state} --> [*]: retention\n"
    yield "```\n"


def _line(row: TransitionRow) -> str:
    who = ", ".join(str(trigger.name).lower() for trigger in row.trigger)
    return f"| `{row.state}` | `{row.transition}` | `{row.next_state}` | {who} |\n"


def _state_texts() -> dict[State, str]:
    """The docstring below each state in `jobs/states.py`, on one line."""
    (enum,) = (
        node
        for node in ast.parse(inspect.getsource(states)).body
        if isinstance(node, ast.ClassDef) and node.name == State.__name__
    )
    texts: dict[State, str] = {}
    for member, below in zip(enum.body, enum.body[1:], strict=False):
        match member, below:
            case ast.Assign(value=ast.Constant(str(value))), ast.Expr(ast.Constant(str(text))):
                texts[State(value)] = " ".join(text.split())
            case _:
                pass
    return texts
