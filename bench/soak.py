"""Draws what a soak of the live catalogue sampled: memory, threads, open files and shared memory over time.

    TRIDENT_SOAK_FILE=soak.jsonl make test-slow PYTEST_ARGS="-k nothing_fails_and_nothing_grows"
    python bench/soak.py soak.jsonl --plot soak.svg

Each is drawn as a share of its mean in the second half, where it must be flat; prints means and the largest distance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

NAMES = {"pss_mib": "PSS, MiB", "threads": "threads", "files": "open files", "shared_mib": "shared memory, MiB"}


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="one JSON object a line")
    parser.add_argument("--plot", type=Path, required=True, help="a picture, .svg")
    chosen = parser.parse_args()
    samples = [json.loads(line) for line in chosen.samples.read_text(encoding="utf-8").splitlines()]
    minutes = [each["minutes"] for each in samples]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    found = {}
    for name, title in NAMES.items():
        values = np.array([each[name] for each in samples], dtype=float)
        half = values[len(values) // 2 :]
        mean = float(half.mean())
        axes.plot(minutes, values / max(mean, 1e-9), "o-", markersize=2, linewidth=1, label=f"{title} ({mean:,.0f})")
        found[name] = {"mean": mean, "least": float(half.min()), "most": float(half.max())}
    axes.axvline(minutes[len(minutes) // 2], color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="minutes", ylabel="share of the second half's mean", ylim=(0.5, 1.5))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(chosen.plot)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
