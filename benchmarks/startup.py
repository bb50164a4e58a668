"""How long a user waits: import, help, and the first trained child. Medians of several runs.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import json
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


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


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
            "import torch": [python, "-c", "import torch"],
            "first child, in this process": [python, str(script), f"{folder}/a.db", "0"],
            "first child, two workers": [python, str(script), f"{folder}/b.db", "2"],
        }
        figures = {}
        for name, command in cases.items():
            runs = []
            for _ in range(options.repeat):
                for store in Path(folder).glob("*.db*"):
                    store.unlink()
                runs.append(seconds(command))
            figures[name] = median(runs)
    if options.json:
        print(json.dumps({"seconds": figures, "machine": provenance()}, indent=2))
        return
    machine = provenance()
    print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}; median of {options.repeat}")
    for name, value in figures.items():
        print(f"{name:32} {value:6.2f} s")


if __name__ == "__main__":
    main()
