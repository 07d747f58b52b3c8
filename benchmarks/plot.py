"""Draw a run of load.py: ``plot.py load.json load.svg``. It runs where matplotlib is: in ``.venv-bench``."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl

mpl.use("svg")
# Text stays text: the file is small, and can be searched. The ids in it are the same for the same figures.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "arun", "font.size": 10, "font.family": "sans-serif"})

import matplotlib.pyplot as plt  # noqa: E402 - the backend is chosen first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Colours that are read on white and on black alike; the background is whatever lies below.
_ARUN, _OTHER_ARUN, _PEER, _TEXT = "#e8590c", "#f0a271", "#8493a8", "#7d8896"
_KINDS = {"asgi": "ASGI", "wsgi": "WSGI", "aiohttp": "aiohttp"}
#: What an entrant is called where its kind is known.
_NAMES = {
    "arun pure": "arun, not compiled",
    "arun inline": "arun --threads 0",
    "aiohttp uvloop": "aiohttp's runner, uvloop",
    "aiohttp": "aiohttp's runner, asyncio",
}


def draw(reported: dict[str, Any], path: str) -> None:
    """Draw how many requests each server answers in a second of CPU time, a panel for each kind of app.

    The case is hello; where it was not measured nothing is drawn.
    """
    servers = reported["cases"].get("hello", {}).get("servers", {})
    panels = {kind: _rows(servers, kind) for kind in _KINDS}
    panels = {kind: rows for kind, rows in panels.items() if rows}
    if not panels:
        return
    sizes = [len(rows) for rows in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(8, 0.31 * sum(sizes) + 0.5 * len(panels) + 0.6),
        squeeze=False,
        sharex=True,
        layout="constrained",
        gridspec_kw={"height_ratios": [size + 0.6 for size in sizes]},
    )
    figure.get_layout_engine().set(hspace=0.06)
    most = max(value for rows in panels.values() for _, value in rows)
    for panel, (kind, rows) in zip(axes.flat, panels.items(), strict=True):
        _panel(panel, f"{_KINDS[kind]} app", rows, most)
    figure.suptitle(
        "Requests per second of CPU time: hello, one worker, one core", x=0.01, ha="left", color=_TEXT, weight="bold"
    )
    figure.savefig(path, metadata={"Date": None}, transparent=True)


def _rows(servers: dict[str, Any], kind: str) -> list[tuple[str, float]]:
    """Return name and figure of those that serve a kind of app, the best one last."""
    rows = [
        (label.rpartition(" ")[0], reported["per_cpu"]["median"])
        for label, reported in servers.items()
        if label.rpartition(" ")[2] == kind
    ]
    return sorted(rows, key=lambda row: row[1])


def _panel(panel: Any, title: str, rows: list[tuple[str, float]], most: float) -> None:
    names = [_NAMES.get(name, name) for name, _ in rows]
    colours = [_ARUN if n == "arun" else _OTHER_ARUN if n.startswith("arun") else _PEER for n, _ in rows]
    bars = panel.barh(names, [value for _, value in rows], color=colours, height=0.72)
    panel.bar_label(bars, [f"{value:,.0f}" for _, value in rows], padding=4, color=_TEXT, fontsize=9)
    panel.set_title(title, loc="left", color=_TEXT, fontsize=10)
    panel.set_xlim(0, most * 1.12)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0, labelbottom=False, labelcolor=_TEXT)
    for label, (name, _) in zip(panel.get_yticklabels(), rows, strict=True):
        if name.startswith("arun"):
            label.set(weight="bold", color=_ARUN)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw(json.load(file), sys.argv[2])
