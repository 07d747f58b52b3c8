"""Write the inputs a fuzzer starts from: hostile conversations, and configs of each format.

``python -m tests.fuzz.seeds FOLDER`` makes FOLDER/conversation and FOLDER/settings.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.hostile import cases_conversation, cases_fields, cases_framing, cases_lines

_LARGEST = 4096
_CONFIGS = {
    0: (
        b"[arun]\nbind = :8000\nenv = A=b\nset-placeholder = x=y\nprint = %(x) $(NAME) %d\nif-env = NAME\ndebug\nendif\n",
        b"[uwsgi]\nhttp-socket = 127.0.0.1:80\nlisten = 5\nmaster = true\n[arun:other]\n",
        b"fallback-config = welcome\n[arun]\ninclude = fuzz.ini\nuid = \nlimit-request-body = 1m\n",
    ),
    1: (
        b'[arun]\nbind = ["127.0.0.1:8000", "unix:/tmp/a"]\nbacklog = 10\ndebug = true\nstart-timeout = 1.5\n',
        b'fallback-config = "safe.toml:other"\n[tool.arun]\nport = 1\n[[arun]]\n',
    ),
    2: (
        b'{"arun": {"bind": [":1", "fd://3"], "threads": 4, "env": ["A=b"], "print": "%(x)"}}',
        b'{"set": {"a": 1}, "x": null}',
    ),
    3: (
        b"arun:\n  bind: &a [':1']\n  shared-socket: *a\n  debug: yes\n",
        b"fallback-config: welcome\n--- \n- [a, {b: c}]\n",
    ),
}


def main(folder: Path) -> None:
    """Write all seeds."""
    conversations, settings = folder / "conversation", folder / "settings"
    conversations.mkdir(parents=True, exist_ok=True)
    settings.mkdir(parents=True, exist_ok=True)
    tables = (cases_lines, cases_fields, cases_framing, cases_conversation)
    for number, case in enumerate(case for table in tables for case in table.CASES):
        data = b"".join(piece for piece in case.pieces if isinstance(piece, bytes))
        if len(data) < _LARGEST:
            (conversations / str(number)).write_bytes(b"\x22\x10\x08" + data)
    for kind, texts in _CONFIGS.items():
        for number, text in enumerate(texts):
            (settings / f"{kind}-{number}").write_bytes(bytes((kind,)) + text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
