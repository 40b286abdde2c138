"""Releases a point of the zoo: the seed of median accuracy of those that were trained, of two the worse one.

    python benchmarks/release.py lenet5/150x seed1.lutra seed2.lutra seed3.lutra

measures each file by the C runtime on the test images, which are read for nothing else, writes the median one, with what was measured,
to python/lutra/zoo/artefacts, and notes all of them in benchmarks/seeds.json. Of a network whose float model is not in the zoo, name it:

    python benchmarks/release.py resnet8 seed1.lutra --reference mlperf_ic_resnet8.onnx --dataset cifar10
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import lutra
from lutra import zoo
from lutra.zoo.data import PREPARED, dataset_of, load
from lutra_compiler.config import parse_config
from lutra_compiler.driver import Model, read_model

ROOT = Path(__file__).resolve().parents[1]
SEEDS = ROOT / "benchmarks/seeds.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("point", help="such as lenet5 or lenet5/150x")
    parser.add_argument("models", nargs="+", type=Path, help="what `lutra compress --config zoo:POINT --seed N` wrote")
    parser.add_argument("--reference", type=Path, help="the float network, where it is not in the zoo")
    parser.add_argument("--dataset", choices=PREPARED, help="what the float network was trained on, where its file does not say")
    parser.add_argument("--made", default="", help='how long the training took and on what, as "50 min, one core of an AMD EPYC"')
    arguments = parser.parse_args()
    recipe = parse_config(zoo.recipe(arguments.point).read_text())
    reference = lutra.load(arguments.reference) if arguments.reference else zoo.load(zoo.float_name(arguments.point))
    dataset = arguments.dataset or dataset_of(reference)
    test, found = load(dataset, "test"), []
    for path in arguments.models:
        model = read_model(path)
        made = parse_config(str(model.metadata["configuration"]))
        seed = made.seed
        if replace(made, method=recipe.method, seed=recipe.seed) != recipe:
            raise SystemExit(f"{path} was not made with the recipe of {arguments.point}")
        measured = lutra.validate(model, test, reference=reference)
        found.append((measured.accuracy, seed, measured, model))
        print(path, seed, measured.accuracy, measured.float_accuracy, measured.model_bytes)
    seeds = json.loads(SEEDS.read_text()) if SEEDS.exists() else {}
    known = seeds.get(arguments.point, {})
    seeds[arguments.point] = {
        str(seed): {"accuracy": accuracy, "model_bytes": m.model_bytes, "made": arguments.made or known.get(str(seed), {}).get("made", "")}
        for accuracy, seed, m, _ in found
    }
    accuracy, _, measured, model = sorted(found, key=lambda row: row[:2])[(len(found) - 1) // 2]
    network = arguments.point.partition("/")[0]
    metadata = {**model.metadata, "network": network, "dataset": dataset, "accuracy": accuracy, "float_accuracy": measured.float_accuracy}
    name = arguments.point.replace("/", "-", 1)
    lutra.save(Model(model.graph, metadata), ROOT / f"python/lutra/zoo/artefacts/{name}.lutra")
    SEEDS.write_text(json.dumps(seeds, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
