"""Builds examples/rust, which runs the network in tract, as WebAssembly for the page."""

import os
import shutil
from pathlib import Path

from kanjinet.errors import KanjinetError
from kanjinet.web.commands import run_command

TRACT_NAME = "tract.wasm"  # in web/ where it was downloaded, and in the page
_BUILT = Path("wasm32-unknown-unknown", "wasm", "kanji_reader.wasm")  # in cargo's target folder
CARGO_REMEDY = (
    f"install Rust (https://rustup.rs), or download {TRACT_NAME} of the toolkit's release into web/, and run the same "
    "command again"
)


def find_tract(web_dir: Path) -> Path | None:
    """Returns the program's path, where it was downloaded or built before."""
    found = (path for path in (web_dir / TRACT_NAME, _target_folder(web_dir) / _BUILT) if path.is_file())
    return next(found, None)


def build_tract(web_dir: Path) -> Path:
    """Has cargo build what has changed since the last time, unless the program was downloaded; returns its path.

    Raises:
        KanjinetError: cargo is missing, or failed.
    """
    if (downloaded := web_dir / TRACT_NAME).is_file():
        return downloaded
    if (cargo := find_cargo()) is None:
        raise KanjinetError("cargo: not found, and --engine tract needs it", CARGO_REMEDY)
    crate = _crate_folder(web_dir)
    status, reason = run_command([cargo, "wasm", "--quiet"], crate)
    if status != 0:
        raise KanjinetError(
            f"cargo wasm in {crate}: failed with exit status {status} ({reason})",
            "rustup update, rustup target add wasm32-unknown-unknown, check the network, and run it again",
        )
    return _target_folder(web_dir) / _BUILT


def find_cargo() -> str | None:
    """Returns the path of cargo, if this machine has it."""
    return shutil.which("cargo")


def _crate_folder(web_dir: Path) -> Path:
    return web_dir.parent / "examples" / "rust"


def _target_folder(web_dir: Path) -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR") or _crate_folder(web_dir) / "target")
