"""Where a version comes from and what became of it: data -> job -> version -> deployment, with parents and children."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from schemas.manifest import Lineage
from services.registry.deployments import current
from services.registry.tables import versions
from services.registry.versions import Row, find_version

MAX_DEPTH = 10
"""Generations of parents, and of children."""
MAX_VERSIONS = 200
"""Versions in one graph."""


@dataclass(frozen=True)
class Node:
    """`kind` is data, experiment, cycle, job, version or deployment; `name` is what a person calls it."""

    id: str
    kind: str
    name: str
    stage: str | None = None


@dataclass(frozen=True)
class Edge:
    """`source` led to `target`; `relation` says how."""

    source: str
    target: str
    relation: str


@dataclass
class Graph:
    """Nodes in the order in which they were found, the version that was asked for at `root`.

    `complete` is false when there are more parents or children than were followed.
    """

    root: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], Edge] = field(default_factory=dict)
    complete: bool = True

    def add(self, node: Node) -> str:
        """Add a node once; its id."""
        self.nodes.setdefault(node.id, node)
        return node.id

    def join(self, source: str, target: str, relation: str) -> None:
        """Add an edge once."""
        self.edges.setdefault((source, target), Edge(source, target, relation))

    @property
    def versions(self) -> int:
        """How many versions there are."""
        return sum(node.kind == "version" for node in self.nodes.values())


def lineage_of(connection: sa.Connection, model_id: str, version: str, depth: int = 3) -> Graph:
    """The graph around a version, `depth` generations each way. Raises `NotFound`. At most `MAX_VERSIONS` versions."""
    row = find_version(connection, model_id, version)
    graph = Graph(_version(row).id)
    graph.add(_version(row))
    _origin(graph, row)
    _deployment(connection, graph, row)
    _ancestors(connection, graph, row, depth)
    _descendants(connection, graph, row, depth)
    return graph


def as_mermaid(graph: Graph) -> str:
    """The graph in the language of Mermaid. Names stand in it as text only, whatever signs they have."""
    shapes = {"data": "[({})]", "job": "([{}])", "deployment": "{{{{{}}}}}"}
    ids = {name: f"n{number}" for number, name in enumerate(graph.nodes)}
    lines = ["graph LR"]
    for node in graph.nodes.values():
        label = f'"{_as_text(node.kind)}<br/>{_as_text(node.name)}{f" ({_as_text(node.stage)})" if node.stage else ""}"'
        lines.append(f"  {ids[node.id]}{shapes.get(node.kind, '[{}]').format(label)}")
    lines += [f"  {ids[edge.source]} -->|{edge.relation}| {ids[edge.target]}" for edge in graph.edges.values()]
    return "\n".join([*lines, f"  style {ids[graph.root]} stroke-width:3px"])


def _as_text(name: str) -> str:
    """Every sign but letters, digits and a few harmless ones as its number."""
    return "".join(
        sign if sign.isascii() and (sign.isalnum() or sign in " ._-:") else f"#{ord(sign)};" for sign in name[:80]
    )


def _version(row: sa.Row[Any]) -> Node:
    return Node(f"version:{row.model_id}:{row.version}", "version", f"{row.model_id} {row.version}", row.stage)


def _origin(graph: Graph, row: Row) -> None:
    origin = Lineage.model_validate(json.loads(row.manifest).get("lineage") or {})
    made_by = graph.root
    if origin.job_id:
        made_by = graph.add(Node(f"job:{origin.job_id}", "job", origin.job_id))
        graph.join(made_by, graph.root, "made")
    if origin.dataset_digest:
        data = graph.add(Node(f"data:{origin.dataset_digest}", "data", origin.dataset_digest[:16]))
        graph.join(data, made_by, "trained on")
    if origin.experiment_id:
        trial = "" if origin.trial is None else f" trial {origin.trial}"
        experiment = graph.add(Node(f"experiment:{origin.experiment_id}", "experiment", origin.experiment_id + trial))
        graph.join(experiment, made_by, "asked for")
    if origin.cycle_id:
        cycle = graph.add(Node(f"cycle:{origin.cycle_id}", "cycle", origin.cycle_id))
        graph.join(cycle, made_by, "asked for")


def _deployment(connection: sa.Connection, graph: Graph, row: Row) -> None:
    wanted = current(connection, row.model_id)
    if wanted is None:
        return
    shares = [f"{route.weight:g} %" for route in wanted.routes if route.version == row.version]
    others = (("shadow", wanted.shadow), ("fallback", wanted.fallback))
    shares += [what for what, route in others if route is not None and route.version == row.version]
    if shares:
        name = f"revision {wanted.revision}: {', '.join(shares)}"
        graph.join(graph.root, graph.add(Node(f"deployment:{row.model_id}", "deployment", name)), "serves")


def _ancestors(connection: sa.Connection, graph: Graph, row: Row, depth: int) -> None:
    child, name = graph.root, row.parent_version
    for _ in range(depth):
        if name is None:
            return
        mine = (versions.c.model_id == row.model_id) & (versions.c.version == name)
        found = connection.execute(sa.select(*_SHOWN).where(mine)).first()
        parent = Node(f"version:{row.model_id}:{name}", "version", f"{row.model_id} {name}")
        known = parent.id in graph.nodes
        graph.join(graph.add(_version(found) if found is not None else parent), child, "parent")
        if found is None or known:
            return
        child, name = parent.id, found.parent_version
    graph.complete = graph.complete and name is None


def _descendants(connection: sa.Connection, graph: Graph, row: Row, depth: int) -> None:
    parents = [row.version]
    for generation in range(depth + 1):
        left = MAX_VERSIONS - graph.versions
        children = _children(connection, row.model_id, parents, left + 1)
        if generation == depth or len(children) > left:
            graph.complete = graph.complete and not children
        if generation == depth or not children:
            return
        parents = []
        for child in children[:left]:
            node = _version(child)
            if node.id not in graph.nodes:
                parents.append(child.version)
            graph.join(f"version:{row.model_id}:{child.parent_version}", graph.add(node), "parent")


def _children(connection: sa.Connection, model_id: str, parents: Iterable[str], limit: int) -> list[sa.Row[Any]]:
    of_these = (versions.c.model_id == model_id) & versions.c.parent_version.in_(list(parents))
    oldest_first = versions.c.seq + 0  # a sum, so that no index of `seq` is walked through all versions of the model
    return list(connection.execute(sa.select(*_SHOWN).where(of_these).order_by(oldest_first).limit(limit)))


_SHOWN: tuple[sa.ColumnElement[Any], ...] = (
    versions.c.model_id,
    versions.c.version,
    versions.c.stage,
    versions.c.parent_version,
)
