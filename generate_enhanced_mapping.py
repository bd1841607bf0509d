"""Write the character mapping: class index -> character, JIS code and number of strokes.

Reads:  nothing but the installed package kanjivg (stroke counts)
Writes: kanji_etl9g_enhanced_mapping.json
Run:    python generate_enhanced_mapping.py
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
from pathlib import Path

from kanjinet.classes import CLASS_OF_CHARACTER
from kanjinet.export.mapping import ENHANCED_MAPPING_NAME, build_mapping
from kanjinet.storage.files import check_output_file, make_folder, write_json


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python generate_enhanced_mapping.py")
    parser.add_argument("--output-path", type=Path, default=Path(ENHANCED_MAPPING_NAME), help="the JSON file to write")
    return parser.parse_args()


def main() -> None:
    """Builds the mapping, writes it, and shows what is in it."""
    args = parse_args()
    check_output_file(args.output_path, "--output-path")
    mapping = build_mapping()
    make_folder(args.output_path.parent)
    write_json(args.output_path, mapping)
    statistics, ta = mapping["statistics"], CLASS_OF_CHARACTER["田"]
    entry = mapping["characters"][str(ta)]
    print(
        f"characters   {statistics['total_characters']:,}: {statistics['hiragana_count']} hiragana, "
        f"{statistics['kanji_count']:,} kanji"
    )
    print(
        f"strokes      {statistics['average_stroke_count']} on average ({mapping['model_info']['stroke_count_source']})"
    )
    print(f"example      田: class {ta}, JIS {entry['jis_code']}, {entry['stroke_count']} strokes")
    print('             (older descriptions of this project print 田 as class "201": it cannot be under any JIS order)')
    print(f"written      {show_path(args.output_path)}")


if __name__ == "__main__":
    run_script(main)
