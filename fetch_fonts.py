"""Fetch open handwriting fonts, for --fonts of make_sample_etl9g.py and --fresh-fonts of train_etl9g_model.py.

Reads:  npm's packages @fontsource/..., and where there is apt-get Debian's fonts-yozvox-yozfont-...; each has fonts
        under the SIL Open Font License
Writes: fonts/, a folder for each package with its WOFF2 or TTF files and its license
Run:    python fetch_fonts.py --output-dir fonts

For the characters `japanese` also fonts of Latin letters and digits alone, by other writers. Fonts that are there
already are kept. Any other TTF, OTF or WOFF2 files can be put beside them.
"""

from kanjinet.cli import make_parser, run_script, show_path

import argparse
import shlex
import shutil
import tempfile
from pathlib import Path

from kanjinet.classes import CHARACTER_SETS
from kanjinet.errors import KanjinetError
from kanjinet.storage.files import check_output_folder, make_folder
from kanjinet.storage.locks import lock_folder
from kanjinet.web.bundle import NODE_REMEDY, find_npm
from kanjinet.web.commands import run_command

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
# Of letters and digits alone, for those who learned to write these first.
LATIN_VERSIONS = dict.fromkeys(
    (
        *("annie-use-your-telescope", "architects-daughter", "bad-script", "cedarville-cursive", "chilanka"),
        *("comic-neue", "covered-by-your-grace", "dawning-of-a-new-day", "delicious-handrawn", "east-sea-dokdo"),
        *("edu-nsw-act-foundation", "edu-qld-beginner", "edu-sa-beginner", "fuzzy-bubbles", "gaegu", "gamja-flower"),
        *("give-you-glory", "gloria-hallelujah", "gochi-hand", "grape-nuts", "just-me-again-down-here", "kavivanar"),
        *("la-belle-aurore", "mali", "mansalva", "mynerve", "nanum-brush-script", "nanum-pen-script", "pangolin"),
        *("nothing-you-could-do", "over-the-rainbow", "playpen-sans", "playwrite-de-grund", "playwrite-us-modern"),
        *("poor-story", "reenie-beanie", "sedgwick-ave", "shadows-into-light", "shantell-sans", "short-stack"),
        *("solitreo", "sue-ellen-francisco", "swanky-and-moo-moo", "the-girl-next-door", "waiting-for-the-sunrise"),
        "zeyada",
    ),
    "5.3.0",
) | {"single-day": "5.3.1"}
LATIN_FILES = "files/*-latin-400-normal.woff2"
# One hand with five sets of hiragana. Of its 122 fonts these are upright and of regular weight, with today's kanji.
YOZFONT = "yozfont"
KANA = ("standard-kana", "new-kana", "edu", "cute", "antique")
YOZFONT_PACKAGES = [f"fonts-yozvox-yozfont-{kana}" for kana in KANA]
YOZFONT_FILES = "YOzR?_.ttf"


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "python fetch_fonts.py --output-dir fonts")
    parser.add_argument("--output-dir", type=Path, default=Path("fonts"), help="folder for the fonts")
    parser.add_argument("--characters", choices=CHARACTER_SETS, default="etl9g", help="what they are to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_output_folder(args.output_dir, "--output-dir")
    folder = make_folder(args.output_dir)
    has_apt = bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))
    versions = VERSIONS | (LATIN_VERSIONS if args.characters == "japanese" else {})
    names = [*versions, YOZFONT] if has_apt or (folder / YOZFONT).is_dir() else [*versions]
    with lock_folder(folder, "fetch_fonts.py"):
        missing = [name for name in names if not (folder / name).is_dir()]
        with tempfile.TemporaryDirectory(prefix=".fetch_", dir=folder) as workplace:
            if packages := [name for name in missing if name != YOZFONT]:
                install([f"@fontsource/{name}@{versions[name]}" for name in packages], Path(workplace))
                for name in packages:
                    pattern = LATIN_FILES if name in LATIN_VERSIONS else "files/*.woff2"
                    keep_font(Path(workplace) / "node_modules" / "@fontsource" / name, pattern, folder / name)
            if YOZFONT in missing:
                keep_font(unpack_yozfont(Path(workplace)), f"usr/share/fonts/**/{YOZFONT_FILES}", folder / YOZFONT)
    size_mb = sum(path.stat().st_size for name in names for path in (folder / name).iterdir()) / 1e6
    kept = f", {len(names) - len(missing)} of them there already" if len(missing) < len(names) else ""
    if YOZFONT not in names:
        print("note       YOzFont is left out: it comes in Debian's packages, and there is no apt-get here")
    print(f"fonts      {show_path(folder)}: {len(names)} packages, {size_mb:.0f} MB{kept}")
    option = "" if args.characters == "etl9g" else f" --characters {args.characters}"
    print(f"next       python make_sample_etl9g.py{option} --fonts {shlex.quote(show_path(folder))}")


def install(packages: list[str], workplace: Path) -> None:
    """Has npm install packages, without running anything of theirs."""
    if (npm := find_npm()) is None:
        raise KanjinetError("npm: not found, and it is what fetches the fonts", NODE_REMEDY)
    (workplace / "package.json").write_text('{"private": true}', encoding="ascii")  # else npm looks in folders above
    run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages], workplace)


def unpack_yozfont(workplace: Path) -> Path:
    """Downloads and unpacks Debian's packages; returns the folder that holds what they hold."""
    run(["apt-get", "download", *YOZFONT_PACKAGES], workplace)
    for path in sorted(workplace.glob("*.deb")):
        run(["dpkg-deb", "--extract", path.name, YOZFONT], workplace)
    return workplace / YOZFONT


def run(command: list[str], workplace: Path) -> None:
    """Runs a command that needs the network; if it fails, says what it said."""
    status, reason = run_command(command, workplace)
    if status != 0:
        name = Path(command[0]).stem
        problem = f"{name} {command[1]}: failed with exit status {status} ({reason})"
        lists = "its list of packages (apt-get update)" if name == "apt-get" else "npm's registry"
        raise KanjinetError(problem, f"check the network and {lists}, and run the same command again")


def keep_font(package: Path, pattern: str, folder: Path) -> None:
    """Moves a package's font files and its license to a folder of their own, which is whole or not there."""
    fonts = sorted(package.glob(pattern))
    if not fonts:
        raise KanjinetError(f"{folder.name}: its packages hold no {pattern}", "report it to this toolkit")
    chosen = make_folder(package.parent / f".{folder.name}")
    for path in (*fonts, *package.glob("LICENSE*"), *sorted(package.glob("usr/share/doc/*/copyright"))[:1]):
        shutil.move(path, chosen / path.name)
    chosen.rename(folder)


if __name__ == "__main__":
    run_script(main)
