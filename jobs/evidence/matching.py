"""Matches rows with the submits that may have caused them: a bipartite graph, by parts.

Rows and claimants that are connected by possible matches form a part. Within a part, counting is
exact: nothing is concluded from one of several possible assignments.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

MAX_EDGES: Final = 200_000
"""Possible matches in a part beyond which it is not matched."""

Edges = Sequence[Sequence[int]]
"""For each claimant the numbers of the rows that may be its run."""


def parts(edges: Edges, rows: int) -> list[tuple[list[int], list[int]]]:
    """The connected parts, each as its claimants and its rows; a claimant without rows is one."""
    claimants_of: list[list[int]] = [[] for _ in range(rows)]
    for claimant, possible in enumerate(edges):
        for row in possible:
            claimants_of[row].append(claimant)
    seen: set[int] = set()
    seen_rows: set[int] = set()
    found: list[tuple[list[int], list[int]]] = []
    for start in range(len(edges)):
        if start in seen:
            continue
        members: list[int] = []
        own_rows: list[int] = []
        todo = [start]
        seen.add(start)
        while todo:
            claimant = todo.pop()
            members.append(claimant)
            for row in edges[claimant]:
                if row in seen_rows:
                    continue
                seen_rows.add(row)
                own_rows.append(row)
                for other in claimants_of[row]:
                    if other not in seen:
                        seen.add(other)
                        todo.append(other)
        found.append((sorted(members), sorted(own_rows)))
    return found


def maximum_matching(edges: Edges, claimants: Sequence[int]) -> dict[int, int]:
    """A largest assignment of rows to distinct claimants, as row → claimant."""
    owner: dict[int, int] = {}
    for claimant in claimants:
        _augment(edges, claimant, owner)
    return owner


def _augment(edges: Edges, start: int, owner: dict[int, int]) -> bool:
    """Give `start` a row, moving other claimants to other rows where needed."""
    came_by: dict[int, int] = {}
    todo = deque([start])
    while todo:
        claimant = todo.popleft()
        for row in edges[claimant]:
            if row in came_by:
                continue
            came_by[row] = claimant
            if row not in owner:
                _shift(row, came_by, owner, start)
                return True
            todo.append(owner[row])
    return False


def _shift(row: int, came_by: dict[int, int], owner: dict[int, int], start: int) -> None:
    """Move the claimants along the path that ends at `row`, which is free."""
    held = {claimant: one for one, claimant in owner.items() if one in came_by}
    while True:
        claimant = came_by[row]
        owner[row] = claimant
        if claimant == start:
            return
        row = held[claimant]


def essential(edges: Edges, claimants: Sequence[int]) -> set[int]:
    """The claimants that have a row in every largest assignment."""
    owner = maximum_matching(edges, claimants)
    matched = set(owner.values())
    todo = deque(claimant for claimant in claimants if claimant not in matched)
    spared = set(todo)
    while todo:
        for row in edges[todo.popleft()]:
            other = owner.get(row)
            if other is not None and other not in spared:
                spared.add(other)
                todo.append(other)
    return matched - spared
