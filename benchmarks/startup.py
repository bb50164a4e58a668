"""How long a user waits: import, help, a derivation, and the first trained child. Medians of several runs.

python benchmarks/startup.py

On a machine that is busy with something else the processor's time says more than the wall clock's; both are measured,
the runs of all cases taking turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from nonlin.run.provenance import provenance

FIRST_CHILD = """
import sys, time
from nonlin.run import search
class Watcher:
    def counted(self, found): ...
    def restored(self, best, done, total): ...
    def finished(self, trial, done, total):
        print("first child", flush=True)
        raise KeyboardInterrupt
if __name__ == "__main__":
    try:
        search("digits-mlp", budget=1, store=sys.argv[1], workers=int(sys.argv[2]), watcher=Watcher())
    except KeyboardInterrupt:
        pass
"""


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall clock and processor time of a command."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "first.py"
        script.write_text(FIRST_CHILD)
        cases = {
            "python alone": [python, "-c", "pass"],
            "import nonlin": [python, "-c", "import nonlin"],
            "nonlin --help": [python, "-m", "nonlin", "--help"],
            "nonlin derive relu": [python, "-m", "nonlin", "derive", "relu"],
            "nonlin worst": [python, "-m", "nonlin", "worst"],
            "import torch": [python, "-c", "import torch"],
            "first child, in this process": [python, str(script), f"{folder}/a.db", "0"],
            "first child, two workers": [python, str(script), f"{folder}/b.db", "2"],
        }
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for _ in range(options.repeat):
            for name, command in cases.items():
                for store in Path(folder).glob("*.db*"):
                    store.unlink()
                runs[name].append(seconds(command))
    wall = {name: median([one for one, _ in pairs]) for name, pairs in runs.items()}
    processor = {name: median([other for _, other in pairs]) for name, pairs in runs.items()}
    if options.json:
        print(json.dumps({"seconds": wall, "processor seconds": processor, "machine": provenance()}, indent=2))
        return
    machine = provenance()
    print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}; median of {options.repeat}\n")
    print(f"{'':32} {'wall':>7} {'processor':>11} {'of import torch':>17}")
    for name in cases:
        share = processor[name] / processor["import torch"]
        print(f"{name:32} {wall[name]:5.2f} s {processor[name]:9.2f} s {share:16.2f}×")


if __name__ == "__main__":
    main()
