"""What a page in a worker goes by, as its supervisor sends it: one line of JSON."""

from __future__ import annotations

from arun.core.failures import FailureRecord
from arun.supervisor.reports import OUTLOOK, line_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arun.core.outlook import Outlook

__all__ = ("order", "read")


def order(outlook: Outlook) -> bytes:
    """Return the order with which a worker learns of it."""
    import json

    fields = outlook._asdict() | {"failures": [one.as_dict() for one in outlook.failures]}
    return line_of(OUTLOOK, json.dumps(fields))


def read(text: str) -> dict[str, Any]:
    """Return the fields of an order."""
    import json

    fields: dict[str, Any] = json.loads(text)
    fields["failures"] = tuple(map(FailureRecord.of_fields, fields["failures"]))
    fields["allowed"] = tuple(fields["allowed"])
    return fields
