"""From a wheel and an empty virtual environment to a validated LeNet-5 in three commands, timed.

    python benchmarks/first_minute.py dist/lutra_mcu-*.whl

Downloads what the wheel requires and, unless it is in the cache, MNIST.
"""

import argparse
import subprocess
import tempfile
import time
import venv
from pathlib import Path

LIMIT = 60.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel.resolve()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder, "venv"), with_pip=True)
        commands = (
            f"pip install -q {wheel}",
            "lutra generate zoo:lenet5 -o lenet5 --prefix lenet5",
            "lutra validate lenet5 --data mnist",
        )
        total = 0.0
        for command in commands:
            started = time.monotonic()
            subprocess.run([f"venv/bin/{command.split()[0]}", *command.split()[1:]], cwd=folder, check=True)
            seconds = time.monotonic() - started
            total += seconds
            print(f"{seconds:5.1f} s  {command.replace(str(wheel), wheel.name)}", flush=True)
    print(f"{total:5.1f} s of {LIMIT:.0f}")
    if total > LIMIT:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
