"""Any bytes as a config file of any format: settings or problems come out, never another exception.

Run by ``make fuzz``; needs the dependency group ``fuzz``. The first byte of an input chooses the format.
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["arun"]):
    from arun.settings import SettingsRejected, read, validate

_FORMATS = ("ini", "toml", "json", "yaml")
_folder = tempfile.mkdtemp(prefix="arun-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def one_input(data: bytes) -> None:
    """Read and validate the config that an input describes."""
    if not data:
        return
    name = f"fuzz.{_FORMATS[data[0] % len(_FORMATS)]}"
    with open(os.path.join(_folder, name), "wb") as stream:
        stream.write(data[1:])
    environ = {"HOME": "/nonexistent", "NAME": "value"}
    layers = read([name], environ, directory=_folder, factory_reset=data[0] >= 128)
    try:
        validate(layers)
    except SettingsRejected as rejected:
        if not rejected.problems:
            raise AssertionError("rejected without a problem") from rejected


def main() -> None:
    """Fuzz until libFuzzer's arguments say stop."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
