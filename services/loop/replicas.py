"""What the replicas' reports say about a cycle: traffic by version, a challenger that does not load, convergence."""

from datetime import UTC, datetime

import sqlalchemy as sa

from services.loop import tables
from services.loop.gates.canary import Traffic
from services.loop.tables import Cycle

NONE = Traffic(0, 0)


def traffic(connection: sa.Connection, cycle: Cycle) -> dict[str, Traffic]:
    """Requests and errors by version over all live replicas."""
    totals: dict[str, Traffic] = {}
    for replica in tables.live_replicas(connection, datetime.now(UTC)):
        for loaded in replica.versions:
            if loaded.model_id == cycle.model_id:
                so_far = totals.get(loaded.version, NONE)
                totals[loaded.version] = Traffic(so_far.requests + loaded.requests, so_far.errors + loaded.errors)
    return totals


def since(now: dict[str, Traffic], cycle: Cycle, version: str) -> Traffic:
    """What `version` has answered since the canary began; a replica that restarted counts from zero again."""
    requests, errors = cycle.traffic_before.get(version, (0, 0))
    total = now.get(version, NONE)
    if total.requests < requests:
        return total
    return Traffic(total.requests - requests, total.errors - errors)


def load_failure(connection: sa.Connection, cycle: Cycle) -> str | None:
    """Why a replica could not load the challenger, or None."""
    for replica in tables.live_replicas(connection, datetime.now(UTC)):
        for loaded in replica.versions:
            if (loaded.model_id, loaded.version, loaded.state) == (cycle.model_id, cycle.challenger_version, "failed"):
                return f"the replica {replica.replica} could not load {cycle.challenger_version}: {loaded.detail}"
    return None


def converged(connection: sa.Connection, cycle: Cycle) -> bool:
    """Whether every live replica serves the wanted revision."""
    replicas = tables.live_replicas(connection, datetime.now(UTC))
    wanted = cycle.deployment_revision or 0
    return bool(replicas) and all(replica.converged.get(cycle.model_id, -1) >= wanted for replica in replicas)
