"""The graph of `needs`: cycles, levels and what depends on what. Pure functions on mappings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping


def find_cycles(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the cycles of the graph, one per strongly connected component with a cycle.

    Each cycle is a list of ids in the order of the arrows (`a` needs `b` needs ... needs `a`),
    starting with its smallest id. Unknown ids are passed over. Linear in nodes and edges
    (Kahn's algorithm first; only the rest is walked).
    """
    edges = {node: [n for n in below if n in needs] for node, below in needs.items()}
    rest = set(edges) - set(_peel(edges))
    # What lies downstream of a cycle but on none survives the first peeling: peel the other way too.
    backwards: dict[str, list[str]] = {node: [] for node in rest}
    for node in rest:
        for below in edges[node]:
            if below in rest:
                backwards[below].append(node)
    rest -= set(_peel(backwards))
    cycles = []
    while rest:
        cycle = _walk_to_cycle(min(rest), edges, rest)
        cycles.append(cycle)
        rest -= set(cycle)
        kept = {node: [n for n in edges[node] if n in rest] for node in rest}
        rest -= set(_peel(kept))
    return cycles


def topological_order(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the ids so that each comes after all that it needs.

    Ids on a cycle, and those that need them, are left out.
    """
    return _peel({node: [n for n in below if n in needs] for node, below in needs.items()})


def dependents_of(needs: Mapping[str, Iterable[str]], roots: Iterable[str]) -> set[str]:
    """Return every id that needs one of `roots`, directly or through others."""
    above: dict[str, list[str]] = {}
    for node, below in needs.items():
        for n in below:
            above.setdefault(n, []).append(node)
    found: set[str] = set()
    frontier = deque(roots)
    while frontier:
        for node in above.get(frontier.popleft(), ()):
            if node not in found:
                found.add(node)
                frontier.append(node)
    return found


def _peel(edges: Mapping[str, list[str]]) -> list[str]:
    """Remove nodes without open edges again and again; return them in that order."""
    open_count = {node: len(set(below)) for node, below in edges.items()}
    above: dict[str, list[str]] = {}
    for node, below in edges.items():
        for n in set(below):
            above.setdefault(n, []).append(node)
    frontier = deque(sorted(node for node, count in open_count.items() if count == 0))
    order = []
    while frontier:
        node = frontier.popleft()
        order.append(node)
        for upper in sorted(above.get(node, ())):
            open_count[upper] -= 1
            if open_count[upper] == 0:
                frontier.append(upper)
    return order


def _walk_to_cycle(start: str, edges: Mapping[str, list[str]], within: set[str]) -> list[str]:
    """Follow edges inside `within` until a node repeats; return the loop, smallest id first."""
    path: list[str] = []
    position: dict[str, int] = {}
    node = start
    while node not in position:
        position[node] = len(path)
        path.append(node)
        onward = [n for n in edges[node] if n in within]
        if not onward:
            return path
        node = min(onward)
    loop = path[position[node] :]
    smallest = loop.index(min(loop))
    return loop[smallest:] + loop[:smallest]
