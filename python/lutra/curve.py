"""A curve of flash against accuracy as JSON, CSV and a plot."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lutra.errors import ToolError
from lutra_compiler.files import write_atomically
from lutra_compiler.records import to_plain

if TYPE_CHECKING:
    from lutra_compiler.compression.search import Plan

CURVE_FILES = (".pareto.json", ".pareto.csv", ".pareto.png")  # endings, beside the model
_COLUMNS = ("flash_bytes", "model_bytes", "ram_bytes", "cycles", "expected_loss", "trial_loss", "trial_accuracy", "channels", "layers")


def curve_records(plans: "Sequence[Plan]") -> list[dict[str, Any]]:
    """A record a point: sizes as lowered before training, losses, and the settings that `--config` takes."""
    return [
        {
            "flash_bytes": plan.flash,
            "model_bytes": plan.model_bytes,
            "ram_bytes": plan.ram,
            "cycles": plan.cycles,
            "expected_loss": plan.loss,
            "trial_loss": plan.trial_loss,
            "trial_accuracy": plan.trial_accuracy,
            "channels": "-".join(map(str, plan.config.pruning.widths.values())) or "all",
            "layers": " ".join("int8" if layer.kind == "int8" else f"{layer.codewords}x{layer.subvector}" for layer in plan.config.layers),
            "settings": {"layers": to_plain(plan.config.layers), "pruning": to_plain(plan.config.pruning)},
        }
        for plan in plans
    ]


def write_curve(records: Sequence[dict[str, Any]], output: Path, title: str) -> list[Path]:
    """Write OUTPUT.pareto.json and .csv for OUTPUT.lutra; returns what was written. Raises OutputError."""
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    written = [output.with_suffix(suffix) for suffix in CURVE_FILES[:2]]
    write_atomically(written[0], json.dumps({"title": title, "points": records}, indent=1).encode())
    write_atomically(written[1], table.getvalue().encode())
    return written


def plot_curve(records: Sequence[dict[str, Any]], path: Path, title: str) -> Path:
    """The curve as a PNG. Raises ToolError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolError("a plot needs matplotlib; pip install 'lutra-mcu[plot]'") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    flash = [record["flash_bytes"] / 1024 for record in records]
    losses = [record["expected_loss"] for record in records]
    axes.plot(flash, losses, "o-", color="tab:blue", markersize=4, label="expected, before training")
    trained = [record for record in records if record["trial_loss"] is not None]
    if trained:
        sizes, losses = [r["flash_bytes"] / 1024 for r in trained], [r["trial_loss"] for r in trained]
        axes.plot(sizes, losses, "s--", color="tab:orange", label="after a short training")
        for size, loss, record in zip(sizes, losses, trained, strict=True):
            if record["trial_accuracy"] is not None:
                label = f"{100 * record['trial_accuracy']:.1f} %"
                axes.annotate(label, (size, loss), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8)
    axes.set(xscale="log", yscale="log", title=title, xlabel="flash, KB: model and code", ylabel="loss against the float network")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    return path
