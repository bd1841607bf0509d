"""Recognizes single handwritten kanji and hiragana: the 3,036 characters of ETL9G.

    >>> import kanjinet
    >>> reader = kanjinet.load()
    >>> reader.read("drawing.png", top=1)
    [Candidate(character='田', probability=0.999873, jis_code='4544', stroke_count=5)]

Everything here is imported when it is first used, so that `import kanjinet` brings no other package.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kanjinet.errors import KanjinetError
    from kanjinet.evaluation.recognizer import Candidate, Recognizer
    from kanjinet.evaluation.recognizer import load_recognizer as load

__version__ = "1.1.0"
__all__ = ["Candidate", "KanjinetError", "Recognizer", "__version__", "load"]

_SOURCES = {
    "Candidate": ("kanjinet.evaluation.recognizer", "Candidate"),
    "KanjinetError": ("kanjinet.errors", "KanjinetError"),
    "Recognizer": ("kanjinet.evaluation.recognizer", "Recognizer"),
    "load": ("kanjinet.evaluation.recognizer", "load_recognizer"),
}


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _SOURCES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
