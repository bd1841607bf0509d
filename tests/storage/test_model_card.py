"""Model cards: the same in every kind of file, and what older files say."""

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from kanjinet.contract import CONTRACTS
from kanjinet.errors import KanjinetError
from kanjinet.model import ModelConfig
from kanjinet.storage.model_card import REAL, SYNTHETIC, Averaging, Calibration, ModelCard, Rejection, merge_sources
from tests.random_checkpoint import CARD

FULL = replace(
    CARD,
    sources=(REAL, SYNTHETIC, "font 毛筆 (MIT)"),
    best_epoch=2,
    calibration=Calibration(0.5, 8, 0.2, 0.01),
    rejection=Rejection(0.25, 0.01, 0.95, 3036),
    averaging=Averaging(("ab" * 32, "cd" * 32), (0.25, 0.75)),
)


@pytest.mark.parametrize("card", [CARD, FULL], ids=["plain", "full"])
def test_both_forms_of_a_card_come_back_as_they_were(card: ModelCard) -> None:
    assert ModelCard.from_dict(card.to_dict()) == card
    assert ModelCard.from_strings(card.to_strings(), Path("m.onnx")) == card


@pytest.mark.parametrize(
    ("synthetic", "fresh_sets", "sources"),
    [(True, None, (SYNTHETIC,)), (True, 3, (SYNTHETIC,)), (False, None, (REAL,)), (False, 3, (REAL, SYNTHETIC))],
)
def test_files_from_before_there_were_sources_name_what_they_learned_from(
    synthetic: bool, fresh_sets: int | None, sources: tuple[str, ...]
) -> None:
    content = CARD.to_dict()
    del content["sources"]
    content |= {"synthetic": synthetic, "training": {**content["training"], "fresh_sets": fresh_sets}}
    card = ModelCard.from_dict(content)
    assert card.sources == sources
    assert ("KanjiVG" in card.license, "AIST" in card.license) == (SYNTHETIC in sources, REAL in sources)
    started = ModelCard.from_dict({**content, "training": {**content["training"], "init_from_sha256": "ab" * 32}})
    assert SYNTHETIC in started.sources  # where the one that ships may be among what it learned from


@pytest.mark.parametrize(
    ("options", "initialization"),
    [
        ({"model_version": "3.0"}, "fitted"),
        ({"model_version": "2.1"}, "published"),
        ({"model_version": "3.0", "init_from_sha256": "ab" * 32}, "init-from"),
    ],
)
def test_files_from_before_there_was_a_choice_name_their_initialization(
    options: dict[str, Any], initialization: str
) -> None:
    content = CARD.to_dict()
    training = {**content["training"], **options}
    del training["initialization"]
    assert ModelCard.from_dict({**content, "training": training}).options.initialization == initialization


def test_sources_are_a_union_in_one_order() -> None:
    assert merge_sources([SYNTHETIC], [REAL, SYNTHETIC]) == (REAL, SYNTHETIC)
    assert merge_sources([REAL], []) == (REAL,)
    fonts = ["font B (MIT)", "font A (Apache 2.0)"]
    assert merge_sources(fonts, [SYNTHETIC], fonts) == (SYNTHETIC, *reversed(fonts))


def test_fonts_are_named_with_their_licenses_and_are_no_real_handwriting() -> None:
    fonts = ("font A (Apache 2.0)", "font B (MIT)", "font C (MIT)")
    card = replace(CARD, sources=(SYNTHETIC, *fonts))
    assert card.synthetic and not replace(card, sources=(REAL, *fonts)).synthetic
    made = "and on synthetic characters made from the font"
    assert card.license.endswith(f"{made} A (Apache 2.0), {made}s B, C (MIT)")


@pytest.mark.parametrize(
    "change",
    [
        {"sources": []},
        {"sources": ["elsewhere"]},
        {"training": {**CARD.to_dict()["training"], "initialization": "lucky"}},
        {"sources": ["font A"]},
        {"sources": ["KanjiVG", f"font {'A' * 61} (MIT)"]},
        {"sources": ["KanjiVG", "font A (\x1b[31mMIT)"]},
        {"sources": ["font B (MIT)", "font A (MIT)"]},
        {"sources": ["font A (MIT)", "KanjiVG"]},
        {"environment": {"python": "3.11"}},
        {"training": 3},
        {"training": {**CARD.to_dict()["training"], "learning_rate": [0.1]}},
        {"training": {**CARD.to_dict()["training"], "learning_rate": 10**400}},
        {"training": {**CARD.to_dict()["training"], "best_epoch": "2"}},
        {"training": {**CARD.to_dict()["training"], "temperature": 1}},
        {"training": {**FULL.to_dict()["training"], "rejection": {**asdict(FULL)["rejection"], "threshold": 1.5}}},
        {"training": {**CARD.to_dict()["training"], "test": {"top1": float("nan")}}},
        {"training": {**CARD.to_dict()["training"], "unheard_of": 1}},
    ],
    ids=lambda change: str(change)[-50:],
)
def test_what_no_card_says_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ModelCard.from_dict(CARD.to_dict() | change)


WRONG: list[Any] = [
    *(None, True, 0, -1, 0.5, 1 << 70, 10**400, float("nan"), float("inf"), "", "x", "9" * 5000, "\ud800", b"x"),
    *([], {}, [1], [[]], {"a": 1}, {1: 2}, ["KanjiVG", "KanjiVG"]),
]


def list_places(content: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every entry of nested objects, by the names on the way to it."""
    for name, value in content.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from list_places(value, (*above, name))


def test_whatever_stands_in_an_entry_a_card_is_refused_or_can_be_written_again() -> None:
    refused = written = 0
    for *above, name in list_places(FULL.to_dict()):
        for wrong in [*WRONG, "missing"]:
            content: Any = FULL.to_dict()
            inside = functools.reduce(lambda entries, each: entries[each], above, content)
            inside[name] = wrong
            if wrong == "missing":
                del inside[name]
            try:
                card = ModelCard.from_dict(content)
            except ValueError:
                refused += 1
                continue
            json.dumps(card.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8")
            if card.preprocessing in CONTRACTS:
                assert ModelCard.from_strings(card.to_strings(), Path("m.onnx")) == card
            written += 1
    assert refused > 700 and written > 50


def test_an_unknown_preprocessing_is_refused_with_the_file() -> None:
    with pytest.raises(KanjinetError, match=r"m\.onnx: preprocessing 'crop-9'"):
        ModelCard.from_strings(replace(CARD, preprocessing="crop-9").to_strings(), Path("m.onnx"))


@pytest.mark.parametrize("version", ["1.0", "2.0", "2.1", "3.0"])
def test_configurations_of_older_files_mean_their_versions_blocks(version: str) -> None:
    config = ModelConfig.preset(version)
    older = config.to_dict()
    for name in ("block", "stem", "learned_pooling", "se_gain"):
        del older[name]
    assert ModelConfig.from_dict(older) == ModelConfig.from_dict(config.to_dict()) == config
