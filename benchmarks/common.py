"""Puts the toolkit's folder on the import path: benchmarks import this before anything of the toolkit."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TRAINED_PATH = ROOT / "pretrained" / "kanji_model_etl9g_64x64_3036classes.safetensors"
