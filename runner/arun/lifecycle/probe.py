"""Whether the arun that is installed now can be loaded: an exec of one that is half installed has no way back."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("loads",)

#: What loads all that a start needs, from the folder that it is told, and says which version that is.
_CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import arun.lifecycle.start, arun.lifecycle.reload, arun.server.server
print(arun.__version__)
"""
#: Seconds that it has.
_PATIENCE = 10.0


def loads(interpreter: str, environ: Mapping[str, str], directory: str) -> tuple[bool, str]:
    """Return whether it loads in a process of its own, and its version; or else why not, as the end of a sentence."""
    import subprocess  # of a supervisor, only an upgrade pays for it

    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        asked = subprocess.run(  # noqa: S603 - ourselves
            [interpreter, "-c", _CODE, home],
            env=dict(environ),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return False, f"cannot be loaded: {last}"
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"does not start ({error})"
    return True, asked.stdout.decode(errors="replace").strip()
