"""The character mapping: class -> character, JIS code and number of strokes, for those who use a model."""

from typing import Any

from kanjinet.classes import ETL9G_SET, SCRIPTS, CharacterSet
from kanjinet.synth.kanjivg import kanjivg_version, stroke_counts

ENHANCED_MAPPING_NAME = "kanji_etl9g_enhanced_mapping.json"


def build_mapping(character_set: CharacterSet = ETL9G_SET, model: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the content of a mapping file.

    Args:
        character_set: whose classes they are.
        model: what `model_info` says about one exported model besides; none in the general mapping.

    Returns:
        {"model_info": {...}, "characters": {"0": {"character", "jis_code", "stroke_count"}, ...},
        "statistics": {...}}; class order, `jis_code` as four upper-case hex digits.

    Raises:
        KanjinetError: the package `kanjivg`, which knows the strokes, is missing or incomplete.
    """
    counts = stroke_counts(character_set)
    num_classes = character_set.num_classes
    of_script = {script: int(character_set.is_of(script).sum()) for script in SCRIPTS}
    characters = {
        index: {**entry, "stroke_count": count}
        for (index, entry), count in zip(character_set.describe_classes().items(), counts, strict=True)
    }
    return {
        "model_info": {
            "dataset": character_set.dataset,
            "total_classes": num_classes,
            "description": f"Class index to character: {character_set.description}",
            "class_table_sha256": character_set.sha256,
            "stroke_count_source": (
                f"KanjiVG (package kanjivg {kanjivg_version()}), main file of each character, CC BY-SA 3.0"
            ),
            **({"twins": list(character_set.twins)} if character_set.has_twins else {}),
            **(model or {}),
        },
        "characters": characters,
        "statistics": {
            "total_characters": num_classes,
            **{f"{script}_count": count for script, count in of_script.items() if count},
            "average_stroke_count": round(sum(counts) / num_classes, 2),
        },
    }
