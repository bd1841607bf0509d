"""Whether long runs stay flat: memory and open files of a training of many epochs, and of many recognitions.

Reads:  the pretrained model; the training's images are sample characters, made for it
Writes: a table
Run:    python benchmarks/bench_long_run.py --epochs 200 --recognitions 20000

The first epoch, and then the first tenth of a run, in which buffers grow to their size, do not count. The slope is that
of the straight line that fits best, in MiB from start to end.
"""

from common import ROOT
from kanjinet.cli import make_parser, positive_float, positive_int, run_script

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

from kanjinet.classes import CHARACTERS
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, load_recognizer
from kanjinet.synth.printed import draw_character
from kanjinet.training.history import HISTORY_NAME

WARM_UP_FRACTION = 0.1
SAMPLE_EVERY_S = 0.5
NUM_IMAGES = 50
MIN_SAMPLES = 10

Sample = tuple[float, int]  # memory in MiB, number of open files


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/bench_long_run.py --epochs 200 --recognitions 20000")
    parser.add_argument("--epochs", type=positive_int, default=200, help="of the training")
    parser.add_argument("--sample-limit", type=positive_int, default=600, help="images of the training")
    parser.add_argument("--recognitions", type=positive_int, default=20_000, help="one image each")
    parser.add_argument("--max-growth", type=positive_float, default=30.0, help="MiB from start to end")
    parser.add_argument("--runs", nargs="+", choices=tuple(RUNS), default=list(RUNS), help="which ones")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(f"{'':34}{'MiB: start':>12}{'middle':>9}{'end':>9}{'slope':>9}{'open files':>16}")
    grown = []
    for run in args.runs:
        name, samples = RUNS[run](args)
        growth_mib, more_files = report(name, samples)
        if growth_mib > args.max_growth or more_files > 0:
            grown.append(f"{name}: {growth_mib:+.1f} MiB, {more_files:+} open files")
    if grown:
        raise KanjinetError(f"not flat: {'; '.join(grown)}", "see what is kept from one step to the next")


def report(name: str, samples: list[Sample]) -> tuple[float, int]:
    """Prints a line; returns the growth in MiB and in open files, from the start to the end after the warm-up."""
    counted = np.array(samples[round(len(samples) * WARM_UP_FRACTION) :])  # (n, 2)
    if len(counted) < MIN_SAMPLES:
        raise KanjinetError(f"{name}: too short to be measured", "use more --epochs and --recognitions")
    tenth, middle = len(counted) // MIN_SAMPLES, len(counted) // 2
    parts = counted[:tenth], counted[middle : middle + tenth], counted[-tenth:]
    memory, files = np.array([np.median(part, axis=0) for part in parts]).T
    slope = float(np.polyfit(np.linspace(0, 1, len(counted)), counted[:, 0], 1)[0])
    counts = ", ".join(f"{count:.0f}" for count in files)
    print(f"{name:34}{memory[0]:12.1f}{memory[1]:9.1f}{memory[2]:9.1f}{slope:+9.1f}{counts:>16}", flush=True)
    return float(memory[2] - memory[0]), int(files[2]) - int(files[0])


def measure_training(args: argparse.Namespace) -> tuple[str, list[Sample]]:
    """Trains a small network through the real script, and samples it from outside."""
    with tempfile.TemporaryDirectory() as folder:
        run_stage(folder, "make_sample_etl9g.py", "--sets", "1")
        run_stage(folder, "prepare_etl9g_dataset.py", "--size", "32")
        options = ["--epochs", str(args.epochs), "--patience", str(args.epochs), "--model-version", "1.0"]
        command = [sys.executable, str(ROOT / "train_etl9g_model.py"), *options]
        command += ["--sample-limit", str(args.sample_limit)]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as training:
            steps = iterate_while_running(training, Path(folder, HISTORY_NAME))
            samples = sample(psutil.Process(training.pid), steps)
        if training.returncode != 0:
            raise KanjinetError(
                f"the training ended with exit status {training.returncode}", f"run {command} to see why"
            )
    return f"training, {args.epochs} epochs", samples


def run_stage(folder: str, script: str, *options: str) -> None:
    done = subprocess.run([sys.executable, str(ROOT / script), *options], cwd=folder, capture_output=True, check=False)
    if done.returncode != 0:
        raise KanjinetError(f"{script}: {done.stderr.decode(errors='replace').strip()}")


def iterate_while_running(training: "subprocess.Popen[bytes]", history: Path) -> Iterator[None]:
    """Yields every SAMPLE_EVERY_S, from the end of the first epoch until the process ends."""
    while training.poll() is None:
        time.sleep(SAMPLE_EVERY_S)
        if history.is_file():
            yield


def sample(process: psutil.Process, steps: Iterable[None]) -> list[Sample]:
    """Samples a process at each step; it may end meanwhile."""
    samples = []
    for _ in steps:
        try:
            open_files = process.num_handles() if sys.platform == "win32" else process.num_fds()
            samples.append((process.memory_info().rss / 2**20, int(open_files)))
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            break
    return samples


def measure_recognitions(args: argparse.Namespace) -> tuple[str, list[Sample]]:
    """Recognizes images of several kinds in this process."""
    recognizer = load_recognizer(PRETRAINED_PATH)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder))

        def recognize() -> Iterator[None]:
            for number in tqdm(range(args.recognitions), unit="image", leave=False, disable=None):
                recognizer.read(paths[number % len(paths)])
                if number % max(1, args.recognitions // 500) == 0:
                    yield

        samples = sample(psutil.Process(), recognize())
    return f"{args.recognitions:,} recognitions", samples


def write_images(folder: Path) -> list[Path]:
    """Writes printed characters as PNG, JPEG, GIF and TIFF files of several sizes."""
    paths = []
    for number in range(NUM_IMAGES):
        side = 100 + 7 * number
        path = folder / f"{number}.{('png', 'jpg', 'gif', 'tif')[number % 4]}"
        Image.fromarray(255 - draw_character(CHARACTERS[number * 60])).resize((side, side)).save(path)
        paths.append(path)
    return paths


RUNS = {"recognitions": measure_recognitions, "training": measure_training}


if __name__ == "__main__":
    run_script(main)
