"""Write the character mapping: class index -> character, JIS code and number of strokes.

Reads:  nothing but the installed package kanjivg (stroke counts)
Writes: kanji_etl9g_enhanced_mapping.json
Run:    python generate_enhanced_mapping.py
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
from pathlib import Path

from kanjinet.classes import CHARACTER_SETS, SCRIPTS
from kanjinet.export.mapping import ENHANCED_MAPPING_NAME, build_mapping
from kanjinet.storage.files import check_output_file, make_folder, write_json


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python generate_enhanced_mapping.py")
    output_help = f"the JSON file to write (default: {ENHANCED_MAPPING_NAME}, with the set's name)"
    parser.add_argument("--output-path", type=Path, help=output_help)
    parser.add_argument("--characters", choices=CHARACTER_SETS, default="etl9g", help="whose classes")
    return parser.parse_args()


def main() -> None:
    """Builds the mapping, writes it, and shows what is in it."""
    args = parse_args()
    character_set = CHARACTER_SETS[args.characters]
    path = args.output_path or Path(ENHANCED_MAPPING_NAME.replace("etl9g", character_set.name))
    check_output_file(path, "--output-path")
    mapping = build_mapping(character_set)
    make_folder(path.parent)
    write_json(path, mapping)
    statistics, ta = mapping["statistics"], character_set.class_of_character["田"]
    of_scripts = (f"{count:,} {script}" for script in SCRIPTS if (count := statistics.get(f"{script}_count", 0)))
    entry = mapping["characters"][str(ta)]
    print(f"characters   {statistics['total_characters']:,}: {', '.join(of_scripts)}")
    print(
        f"strokes      {statistics['average_stroke_count']} on average ({mapping['model_info']['stroke_count_source']})"
    )
    print(f"example      田: class {ta}, JIS {entry['jis_code']}, {entry['stroke_count']} strokes")
    print('             (older descriptions of this project print 田 as class "201": it cannot be under any JIS order)')
    print(f"written      {show_path(path)}")


if __name__ == "__main__":
    run_script(main)
