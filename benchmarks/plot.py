"""Draw a run of load.py: ``plot.py load.json load.svg``. It runs where matplotlib is: in ``.venv-bench``."""

from __future__ import annotations

import json
import math
import sys

import matplotlib as mpl

mpl.use("svg")
# Text stays text: the file is small, and can be searched. The ids in it are the same for the same figures.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "arun", "font.size": 8})

import matplotlib.pyplot as plt  # noqa: E402 - the backend is chosen first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from matplotlib.axes import Axes

_ARUN, _PEER, _LIMIT = "#c2410c", "#64748b", "#cbd5e1"


def draw(reported: dict[str, Any], path: str) -> None:
    """Draw a panel per case: requests per second of each server, the median as a bar, the quartiles as its whisker.

    Where nothing was measured nothing is drawn.
    """
    cases = {name: case for name, case in reported["cases"].items() if case["servers"]}
    if not cases:
        return
    columns = min(2, len(cases))
    longest = max(len(case["servers"]) for case in cases.values())
    rows = math.ceil(len(cases) / columns)
    size = (6.5 * columns, (0.17 * longest + 0.9) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for panel in axes.flat[len(cases) :]:
        panel.set_axis_off()
    for panel, (name, case) in zip(axes.flat, cases.items(), strict=False):
        _panel(panel, f"{name}: {case['about']}", case["servers"])
    figure.savefig(path, metadata={"Date": None})


def _panel(panel: Axes, title: str, servers: dict[str, Any]) -> None:
    labels = sorted(servers, key=lambda label: servers[label]["rate"]["median"])
    rates = [servers[label]["rate"] for label in labels]
    medians = [rate["median"] for rate in rates]
    whiskers = [[rate["median"] - rate["q1"] for rate in rates], [rate["q3"] - rate["median"] for rate in rates]]
    colours = [
        _ARUN if label.startswith("arun") else _LIMIT if label.startswith("nginx") else _PEER for label in labels
    ]
    panel.barh(labels, medians, xerr=whiskers, color=colours, error_kw={"elinewidth": 0.8})
    panel.set_title(title, loc="left")
    panel.set_xlabel("requests per second")
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw(json.load(file), sys.argv[2])
