"""Fetch open handwriting fonts with npm, for --fonts of make_sample_etl9g.py and --fresh-fonts of train_etl9g_model.py.

Reads:  npm's packages @fontsource/..., each of a font under the SIL Open Font License
Writes: fonts/, a folder for each font with its WOFF2 files and its license
Run:    python fetch_fonts.py --output-dir fonts

Fonts that are there already are kept. Any other TTF, OTF or WOFF2 files can be put beside them.
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from kanjinet.errors import KanjinetError
from kanjinet.storage.files import check_output_folder, make_folder
from kanjinet.storage.locks import lock_folder
from kanjinet.web.bundle import NODE_REMEDY, find_npm

# Exact, so that the same seed gives the same sample. The last three are Chinese, the two before them have kana alone.
VERSIONS = {
    "yuji-boku": "5.3.0",
    "yuji-mai": "5.3.0",
    "yuji-syuku": "5.3.0",
    "yomogi": "5.3.0",
    "zen-kurenaido": "5.3.0",
    "hachi-maru-pop": "5.3.0",
    "new-tegomin": "4.5.9",
    "slackside-one": "5.3.0",
    "darumadrop-one": "5.3.0",
    "ma-shan-zheng": "5.3.1",
    "zhi-mang-xing": "5.3.0",
    "long-cang": "5.3.0",
}


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python fetch_fonts.py --output-dir fonts")
    parser.add_argument("--output-dir", type=Path, default=Path("fonts"), help="folder for the fonts")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_output_folder(args.output_dir, "--output-dir")
    folder = make_folder(args.output_dir)
    with lock_folder(folder, "fetch_fonts.py"):
        missing = [name for name in VERSIONS if not (folder / name).is_dir()]
        if missing:
            with tempfile.TemporaryDirectory(prefix=".npm_", dir=folder) as workplace:
                install(missing, Path(workplace))
                for name in missing:
                    keep_font(Path(workplace), name, folder)
    size_mb = sum(path.stat().st_size for name in VERSIONS for path in (folder / name).iterdir()) / 1e6
    kept = f", {len(VERSIONS) - len(missing)} of them there already" if len(missing) < len(VERSIONS) else ""
    print(f"fonts      {show_path(folder)}: {len(VERSIONS)} fonts, {size_mb:.0f} MB{kept}")
    print(f"next       python make_sample_etl9g.py --fonts {shlex.quote(show_path(folder))}")


def install(names: list[str], workplace: Path) -> None:
    """Has npm install the packages of fonts, without running anything of theirs."""
    if (npm := find_npm()) is None:
        raise KanjinetError("npm: not found, and it is what fetches the fonts", NODE_REMEDY)
    (workplace / "package.json").write_text('{"private": true}', encoding="ascii")  # else npm looks in folders above
    packages = [f"@fontsource/{name}@{VERSIONS[name]}" for name in names]
    result = subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages],
        cwd=workplace,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        reason = " / ".join(result.stdout.strip().split("\n")[:3])
        problem = f"npm install: failed with exit status {result.returncode} ({reason})"
        raise KanjinetError(problem, "check the network and npm's registry, and run the same command again")


def keep_font(workplace: Path, name: str, folder: Path) -> None:
    """Moves a font's WOFF2 files and its license to a folder of its own, which is whole or not there."""
    package = workplace / "node_modules" / "@fontsource" / name
    files = [*package.glob("files/*.woff2"), *package.glob("LICENSE*")]
    if len(files) < 2:
        raise KanjinetError(f"@fontsource/{name} {VERSIONS[name]}: no WOFF2 files in it", "report it to this toolkit")
    chosen = make_folder(workplace / name)
    for path in files:
        shutil.move(path, chosen / path.name)
    chosen.rename(folder / name)


if __name__ == "__main__":
    run_script(main)
