"""What the read model `audit` knows about positions at which something is wrong."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, inspect

from infrastructure.audit.findings import Hint
from projections.audit import AUDIT
from projections.audit_log import at_positions


def hints(connection: Connection, positions: Sequence[int]) -> Mapping[int, Hint]:
    """Nothing while the read model is not there."""
    if not inspect(connection).has_table(AUDIT.name):
        return {}
    some = [positions[start : start + 500] for start in range(0, len(positions), 500)]
    found = [entry for each in some for entry in at_positions(connection, each)]
    return {each.position: Hint(each.stream_id.hex, each.version, each.type) for each in found}
