"""Write the pages that follow from the declaration: ``python -m arun.settings docs``."""

from __future__ import annotations

import json
import os
import sys

from . import reference, schema


def write(folder: str) -> None:
    """Write reference.md and schema.json to the folder."""
    with open(os.path.join(folder, "reference.md"), "w", encoding="utf-8") as page:
        page.write(reference())
    with open(os.path.join(folder, "schema.json"), "w", encoding="utf-8") as page:
        page.write(json.dumps(schema(), indent=2) + "\n")


if __name__ == "__main__":
    write(sys.argv[1])
