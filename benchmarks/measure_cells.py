"""How near sample cells are to real ones: percentiles of ink, size, place and stroke width for any ETL9G folder.

Reads:  ETL9G/ (real or sample files)
Writes: a table, hiragana and kanji apart
Run:    python benchmarks/measure_cells.py --etl-dir ETL9G

Whoever holds the real ETL9G can run it on both and compare.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kanjinet.classes import NUM_HIRAGANA
from kanjinet.cli import make_parser, positive_int, run_script
from kanjinet.data import etl9g
from kanjinet.data.cell_statistics import format_table, measure_cells
from kanjinet.data.dataset import concatenate_labels, decode_labels


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, "python benchmarks/measure_cells.py --etl-dir ETL9G --cells 2000")
    parser.add_argument("--etl-dir", type=Path, default=Path("ETL9G"), help="folder of the ETL9G files")
    parser.add_argument("--cells", type=positive_int, default=2000, help="cells of each kind, drawn at random")
    return parser.parse_args()


def main() -> None:
    """Measures some cells of each kind, over all files."""
    args = parse_args()
    files = etl9g.find_etl9g_files(args.etl_dir)
    opened = [etl9g.open_records(file.path, allow_partial=True) for file in files]
    labels = concatenate_labels([decode_labels(file, records) for file, records in zip(files, opened, strict=True)])
    starts = np.cumsum([0, *(len(records) for records in opened)])
    rng = np.random.default_rng(0)
    groups = {}
    for name, belongs in (("kanji", labels.classes >= NUM_HIRAGANA), ("hiragana", labels.classes < NUM_HIRAGANA)):
        found = np.flatnonzero(belongs)
        rows = np.sort(rng.choice(found, min(args.cells, len(found)), replace=False))
        packed = [
            records["pixels"][rows[(rows >= start) & (rows < start + len(records))] - start]
            for start, records in zip(starts, opened, strict=False)
        ]
        groups[f"{len(rows):,} {name}"] = measure_cells(etl9g.unpack_pixels(np.concatenate(packed)))
    is_sample = any(etl9g.is_synthetic(args.etl_dir, records[:1]) for records in opened)
    note = f" ({etl9g.SAMPLE_NOTE})" if is_sample else ""
    print(f"{args.etl_dir}: {len(labels):,} cells in {len(files)} files{note}")
    print(format_table(groups))


if __name__ == "__main__":
    run_script(main)
