"""How fast preparation is, and how near it is to reading and deflating alone.

Reads:  ETL9G/ (any number of files; a sample will do)
Writes: a table; the datasets go to a temporary folder and are removed
Run:    python benchmarks/bench_prepare.py --etl-dir ETL9G

Measured in one run: prepare_etl9g_dataset.py as a user runs it, in turn on the files and on copies with specks of paper
noise in every cell; a plain loop over the records, one process a file, with floats and np.savez_compressed, which is
how such scripts are usually written; and the floor, which reads the files and deflates the finished images with nothing
between.
"""

from common import ROOT
from kanjinet.cli import make_parser, positive_int, run_script

import argparse
import multiprocessing
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import psutil

from kanjinet.data import etl_records
from kanjinet.data.dataset import chunk_name
from kanjinet.data.etl_files import EtlFile, find_etl_files
from kanjinet.data.resources import usable_cores
from kanjinet.data.worker_processes import MAX_WORKERS, choose_workers

RECORD = struct.Struct(">2H8sI4B4H2B34x8128s7x")
SIZE = 64  # pixels
SAMPLING_S = 0.02  # of the memory


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python benchmarks/bench_prepare.py --etl-dir ETL9G")
    parser.add_argument("--etl-dir", type=Path, default=Path("ETL9G"), help="folder of the ETL9G files")
    parser.add_argument("--workers", type=positive_int, default=choose_workers(None, MAX_WORKERS), help="processes")
    parser.add_argument("--loop-files", type=positive_int, default=2, help="files for the slow plain loop")
    parser.add_argument("--repeats", type=positive_int, default=3, help="runs of preparation and floor, best of")
    parser.add_argument("--specks", type=positive_int, default=200, help="specks in each cell of the copies")
    parser.add_argument("--speck-ink", type=positive_int, default=1, choices=range(1, 16), help="of the darkest speck")
    parser.add_argument("--temporary-dir", type=Path, help="where the datasets are written (default: the system's)")
    return parser.parse_args()


@dataclass(frozen=True)
class Measurement:
    """Represents one way of preparing: seconds of wall time, records, and the peak memory of all its processes."""

    name: str
    elapsed_s: float
    records: int
    peak_bytes: int = 0


def main() -> None:
    args = parse_args()
    files = find_etl_files(args.etl_dir)
    records = sum(len(etl_records.open_records(file, allow_partial=True)) for file in files)
    source_bytes = records * etl_records.RECORD_BYTES
    print(f"machine     {platform.processor() or platform.machine()}, {usable_cores()} cores, {platform.system()}")
    print(f"versions    Python {platform.python_version()}, numpy {np.__version__}, OpenCV {cv2.__version__}")
    print(f"source      {len(files)} files, {records:,} records, {source_bytes / 1e6:,.0f} MB; {args.workers} workers")
    with tempfile.TemporaryDirectory(dir=args.temporary_dir) as folder:
        dataset, specked = Path(folder, "dataset"), Path(folder, "specked")
        specked.mkdir()
        for file in files:
            write_specked(file, specked / file.path.name, args.specks, args.speck_ink)
        sources = (args.etl_dir, specked)
        runs = [
            [measure_preparation(each, dataset, records, args.workers) for each in sources] for _ in range(args.repeats)
        ]
        ours, with_specks = (best_of(list(each)) for each in zip(*runs, strict=True))
        images = np.load(dataset / chunk_name(files[0].number))["X"][:2048]
        floor = best_of([measure_floor(files, images, records, args.workers) for _ in range(args.repeats)])
        loop = measure_loop(files[: args.loop_files], dataset, args.workers)
    print_table([loop, ours, replace(with_specks, name=f"with {args.specks} specks a cell"), floor])
    print(f"\nspecks     {ours.elapsed_s / with_specks.elapsed_s:.2f} of the speed on the files themselves")


def write_specked(file: EtlFile, path: Path, num_specks: int, max_ink: int) -> None:
    """Copies an ETL9G file and adds specks, of one or two pixels in ink of at most that level, to each cell."""
    records = np.array(etl_records.read_records(file, allow_partial=True))
    rng = np.random.default_rng(0)
    for block in np.array_split(records, -(-len(records) // 1000)):
        cells = etl_records.unpack_pixels(block["pixels"]).reshape(len(block), -1)
        places = rng.integers(0, cells.shape[1] - 1, (len(block), num_specks))
        ink = rng.integers(1, max_ink, places.shape, dtype=np.uint8, endpoint=True)
        for chosen, levels in ((places, ink), (places[:, ::2] + 1, ink[:, ::2])):
            np.put_along_axis(cells, chosen, np.maximum(np.take_along_axis(cells, chosen, axis=1), levels), axis=1)
        block["pixels"] = etl_records.pack_pixels(cells.reshape(-1, etl_records.CELL_HEIGHT, etl_records.CELL_WIDTH))
    etl_records.write_records(path, [records])


def best_of(runs: list[Measurement]) -> Measurement:
    """Returns the fastest of some runs, with the peak memory of them all."""
    return replace(min(runs, key=lambda run: run.elapsed_s), peak_bytes=max(run.peak_bytes for run in runs))


def measure_preparation(etl_dir: Path, dataset: Path, records: int, workers: int) -> Measurement:
    """Runs prepare_etl9g_dataset.py into an empty folder, start-up included."""
    shutil.rmtree(dataset, ignore_errors=True)
    command = [sys.executable, str(ROOT / "prepare_etl9g_dataset.py"), "--etl-dir", str(etl_dir), "--allow-partial"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--output-dir", str(dataset), "--workers", str(workers)], stdout=subprocess.DEVNULL
    )
    with watch_memory(process.pid) as peak:
        status = process.wait()
    if status:
        raise subprocess.CalledProcessError(status, command)
    return Measurement("prepare_etl9g_dataset.py", time.perf_counter() - start, records, peak[0])


def measure_loop(files: list[EtlFile], dataset: Path, workers: int) -> Measurement:
    """Runs the plain loop, one process a file."""
    start = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        paths = [file.path for file in files]
        with watch_memory(os.getpid()) as peak:
            counts = list(pool.map(prepare_record_by_record, paths, [dataset] * len(paths)))
    return Measurement("plain loop over records", time.perf_counter() - start, sum(counts), peak[0])


def prepare_record_by_record(path: Path, folder: Path) -> int:
    """Reads, unpacks, resizes and scales one record at a time; keeps all as floats; compresses at the end."""
    images, labels = [], []
    with open(path, "rb") as file:
        while content := file.read(RECORD.size):
            fields = RECORD.unpack(content)
            packed = np.frombuffer(fields[-1], dtype=np.uint8)
            pixels = np.empty(packed.size * 2, dtype=np.uint8)
            pixels[0::2], pixels[1::2] = packed >> 4, packed & 15
            cell = pixels.reshape(127, 128).astype(np.float32) / 15
            images.append(cv2.resize(cell, (SIZE, SIZE), interpolation=cv2.INTER_AREA).ravel())
            labels.append(fields[1])
    np.savez_compressed(folder / f"loop_{path.name}.npz", X=np.array(images), y=np.array(labels))
    return len(images)


def measure_floor(files: list[EtlFile], images: npt.NDArray[np.uint8], records: int, workers: int) -> Measurement:
    """Reads the sources and deflates finished images, nothing else."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, range(workers)))  # the processes have started
        start = time.perf_counter()
        list(pool.map(read_and_deflate, [file.path for file in files], [images] * len(files)))
    return Measurement("floor: read and deflate", time.perf_counter() - start, records)


def read_and_deflate(path: Path, images: npt.NDArray[np.uint8]) -> int:
    """Reads a file, and deflates as many images as it has records, taken again and again from some."""
    with open(path, "rb", buffering=0) as file:
        records = sum(len(block) for block in iter(lambda: file.read(1 << 20), b"")) // etl_records.RECORD_BYTES
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_RLE)  # as a chunk's
    size = 0
    for first in range(0, records, len(images)):
        size += len(deflate.compress(images[: min(len(images), records - first)].data))
    return size + len(deflate.flush())


@contextmanager
def watch_memory(pid: int) -> Iterator[list[int]]:
    """Samples the resident memory of a process and its children; the list's one number is the largest sum, bytes."""
    peak, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLING_S):
            try:
                process = psutil.Process(pid)
                together = [process, *process.children(recursive=True)]
                peak[0] = max(peak[0], sum(each.memory_info().rss for each in together))
            except psutil.NoSuchProcess:
                continue  # it ended between two looks

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def print_table(rows: list[Measurement]) -> None:
    """Prints a line for each way: records and bytes a second, their ratio to the first way, memory."""
    print(f"\n{'':26} {'records/s':>10} {'MB/s':>7} {'ratio':>7} {'time':>8} {'peak memory':>12}")
    base_rate = rows[0].records / rows[0].elapsed_s
    for row in rows:
        rate = row.records / row.elapsed_s
        memory = f"{row.peak_bytes / 1e6:,.0f} MB" if row.peak_bytes else ""
        print(
            f"{row.name:26} {rate:10,.0f} {rate * etl_records.RECORD_BYTES / 1e6:7,.0f} {rate / base_rate:6.1f}x "
            f"{row.elapsed_s:6.1f} s {memory:>12}"
        )


if __name__ == "__main__":
    run_script(main)
