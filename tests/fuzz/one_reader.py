"""One reader under atheris, in a process of its own: `python -m tests.fuzz` starts it, for libFuzzer ends its process.

Reads:  the reader's own seeds
Writes: into a folder: findings.jsonl, a line for each kind of error, and beside it the file that led to it
Run:    python -m tests.fuzz.one_reader chunk folder -max_total_time=60
"""

import hashlib
import json
import sys
import tempfile
import traceback
from pathlib import Path

import atheris

INSTRUMENTED = ["kanjinet", "zipfile", "json", "numpy.lib", "PIL", "torch._weights_only_unpickler"]

with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.fuzz.readers import READERS, read_one


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    seeds = folder / "seeds"
    seeds.mkdir()
    for index, seed in enumerate(READERS[name].make_seeds()):
        (seeds / str(index)).write_bytes(seed)
    known: set[str] = set()

    def test_one_input(content: bytes) -> None:
        error = read_one(name, content, scratch)
        if error is None:
            return
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {Path(place.filename).name}, {place.name}"
        if kind not in known:
            known.add(kind)
            file = folder / f"finding-{hashlib.sha256(content).hexdigest()[:12]}"
            file.write_bytes(content)
            with open(folder / "findings.jsonl", "a", encoding="utf-8") as findings:
                findings.write(json.dumps({"kind": kind, "message": str(error)[:200], "file": file.name}) + "\n")

    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        atheris.Setup([sys.argv[0], *sys.argv[3:], f"-artifact_prefix={folder}/", str(seeds)], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
