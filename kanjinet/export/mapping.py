"""The character mapping: class -> character, JIS code and number of strokes, for those who use a model."""

from typing import Any

from kanjinet.classes import CLASS_TABLE_SHA256, NUM_CLASSES, NUM_HIRAGANA, describe_classes
from kanjinet.synth.kanjivg import kanjivg_version, stroke_counts

ENHANCED_MAPPING_NAME = "kanji_etl9g_enhanced_mapping.json"


def build_mapping(model: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the content of a mapping file.

    Args:
        model: what `model_info` says about one exported model besides; none in the general mapping.

    Returns:
        {"model_info": {...}, "characters": {"0": {"character", "jis_code", "stroke_count"}, ...},
        "statistics": {...}}; class order, `jis_code` as four upper-case hex digits.

    Raises:
        KanjinetError: the package `kanjivg`, which knows the strokes, is missing or incomplete.
    """
    counts = stroke_counts()
    characters = {
        index: {**entry, "stroke_count": count}
        for (index, entry), count in zip(describe_classes().items(), counts, strict=True)
    }
    return {
        "model_info": {
            "dataset": "ETL9G",
            "total_classes": NUM_CLASSES,
            "description": (
                f"Class index to character: {NUM_HIRAGANA} hiragana, then {NUM_CLASSES - NUM_HIRAGANA:,} JIS level-1 "
                "kanji, by JIS X 0208 code"
            ),
            "class_table_sha256": CLASS_TABLE_SHA256,
            "stroke_count_source": (
                f"KanjiVG (package kanjivg {kanjivg_version()}), main file of each character, CC BY-SA 3.0"
            ),
            **(model or {}),
        },
        "characters": characters,
        "statistics": {
            "total_characters": NUM_CLASSES,
            "hiragana_count": NUM_HIRAGANA,
            "kanji_count": NUM_CLASSES - NUM_HIRAGANA,
            "average_stroke_count": round(sum(counts) / NUM_CLASSES, 2),
        },
    }
