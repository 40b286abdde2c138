"""Lutra: trained neural networks, pruned and product-quantized, as C for microcontrollers.

    model = lutra.load("network.onnx")              # or load(module, example_inputs), load("zoo:lenet5/float")
    small = lutra.compress(model, lutra.make_dataset(images, labels))
    lutra.generate(small, "bundle", prefix="network", target="cortex-m0")
    print(lutra.validate(small, test_data).accuracy)

Nothing here imports torch until it is needed: for modules, for `compress`, and for `TorchGraph`, which runs a Graph as an nn.Module.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lutra.api import analyze, bench, compress, discard_checkpoint, export, firmware, generate, load, pareto, save, validate
    from lutra.dataset import Dataset, make_dataset, read_dataset
    from lutra.errors import BudgetError, LutraError
    from lutra.runtime import get_include, get_sources
    from lutra_compiler import __version__
    from lutra_compiler.budget import Budget
    from lutra_compiler.compression.torch_graph import TorchGraph
    from lutra_compiler.config import (
        CompressionConfig,
        LayerConfig,
        PruningConfig,
        ReconstructionConfig,
        SearchConfig,
        StageConfig,
        TrainingConfig,
    )
    from lutra_compiler.driver import Model
    from lutra_compiler.ir.graph import Graph

__all__ = [
    "Budget", "BudgetError", "CompressionConfig", "Dataset", "Graph", "LayerConfig", "LutraError", "Model", "PruningConfig",
    "ReconstructionConfig", "SearchConfig", "StageConfig", "TorchGraph", "TrainingConfig", "__version__", "analyze", "bench", "compress",
    "discard_checkpoint", "export", "firmware", "generate", "get_include", "get_sources", "load", "make_dataset", "pareto", "read_dataset",
    "save", "validate",
]  # fmt: skip

_MODULES = {
    "lutra.api": (
        "analyze", "bench", "compress", "discard_checkpoint", "export", "firmware", "generate", "load", "pareto", "save", "validate",
    ),
    "lutra.dataset": ("Dataset", "make_dataset", "read_dataset"),
    "lutra.errors": ("BudgetError", "LutraError"),
    "lutra.runtime": ("get_include", "get_sources"),
    "lutra_compiler": ("__version__",),
    "lutra_compiler.budget": ("Budget",),
    "lutra_compiler.compression.torch_graph": ("TorchGraph",),
    "lutra_compiler.config": (
        "CompressionConfig", "LayerConfig", "PruningConfig", "ReconstructionConfig", "SearchConfig", "StageConfig",
        "TrainingConfig",
    ),
    "lutra_compiler.driver": ("Model",),
    "lutra_compiler.ir.graph": ("Graph",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'lutra' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
