"""Recognizes handwritten kanji and kana: the 3,036 characters of ETL9G, or all that Japanese is written in.

    >>> import kanjinet
    >>> reader = kanjinet.load()
    >>> reader.read("drawing.png", top=1)
    [Candidate(character='田', probability=0.999864, jis_code='4544', stroke_count=5)]

What takes other packages is imported when it is first used, so that `import kanjinet` takes none.
"""

from __future__ import annotations  # an older Python gets as far as the message of setup_etl9g.py

import importlib
import os
from typing import TYPE_CHECKING, Any

from kanjinet.errors import KanjinetError

if TYPE_CHECKING:
    from kanjinet.evaluation.recognizer import Candidate, Candidates, Recognizer
    from kanjinet.evaluation.recognizer import load_recognizer as load

__version__ = "1.7.0"
__all__ = ["Candidate", "Candidates", "KanjinetError", "Recognizer", "__version__", "load"]

# Else onnxruntime reports to its makers what it is used for; whoever wants that sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LAZY = {"Candidate": "Candidate", "Candidates": "Candidates", "Recognizer": "Recognizer", "load": "load_recognizer"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("kanjinet.evaluation.recognizer"), _LAZY[name])


def __dir__() -> list[str]:
    return __all__
