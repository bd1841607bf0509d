"""Shares, intervals and calibration, against published figures, definitions and sums done by hand."""

import math

import numpy as np
import pytest

from kanjinet.evaluation.metrics import NOTHING, Answers, measure_calibration, wilson_interval


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_the_published_ones(hits: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(total - hits, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_interval_ends_are_where_the_score_test_just_accepts() -> None:
    for hits, total in ((1, 2), (284, 290), (91_000, 91_080)):
        for end in wilson_interval(hits, total):
            distance = abs(hits / total - end) / math.sqrt(end * (1 - end) / total)
            assert distance == pytest.approx(1.959964, abs=1e-5)
    assert wilson_interval(5, 5)[1] == 1
    assert wilson_interval(0, 5)[0] == 0


def make_answers() -> Answers:
    """Six answers: あ three times (class 0), 亜 (71) twice, 田 (2080) once."""
    return Answers(
        truth=np.array([0, 0, 0, 71, 71, 2080]),
        ranked=np.array(
            [
                [0, 1, 2, 3, 4],
                [5, 0, 2, 3, 4],
                [5, 6, 7, 8, 0],
                [71, 0, 1, 2, 3],
                [5, 6, 7, 8, 9],
                [NOTHING] * 5,
            ]
        ),
        confidence=np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.0]),
    )


def test_accuracies_are_counted() -> None:
    answers = make_answers()
    everything = answers.measure_accuracy()
    assert (everything["top1"], everything["top3"], everything["top5"]) == (2 / 6, 3 / 6, 4 / 6)
    assert everything["top5_interval"] == wilson_interval(4, 6)
    kana = answers.measure_accuracy(answers.is_hiragana)
    assert (kana["top1"], kana["top3"], kana["top5"], kana["samples"]) == (1 / 3, 2 / 3, 1, 3)
    assert answers.measure_accuracy(np.zeros(6, dtype=bool)) == {"samples": 0}


def test_groups_confusions_and_hardest_characters() -> None:
    answers = make_answers()
    groups = answers.measure_groups(np.array([7, 7, 9, 9, 9, 9], dtype=np.uint8), "data_set")
    assert [(entry["data_set"], entry["top1"], entry["samples"]) for entry in groups] == [(7, 0.5, 2), (9, 0.25, 4)]
    assert groups[1]["top1_interval"] == wilson_interval(1, 4)
    assert answers.count_confusions() == [(0, 5, 2), (71, 5, 1), (2080, NOTHING, 1)]
    assert answers.list_readings(0) == [5]
    # 0 of 1 may be chance (up to 0.79), as may 1 of 3 (0.79) and 1 of 2 (0.91)
    assert [entry["class"] for entry in answers.rank_hardest()] == [0, 2080, 71]


def test_models_are_compared_image_by_image() -> None:
    first = make_answers()
    ranked = first.ranked.copy()
    ranked[0, 0], ranked[4, 0], ranked[5, 0] = 3, 71, 2080
    second = Answers(first.truth, ranked, first.confidence)
    assert second.compare_with(first) == {"only_this_right": 2, "only_first_right": 1}


def test_calibration_is_the_weighted_gap() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    found = measure_calibration(confidence, right, num_bins=10)
    # |0.95 - 3/4| in 4 of 6 answers, |0.55 - 1/2| in 2 of 6
    assert found.error == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.05)
    assert [(entry["from"], entry["to"], entry["samples"]) for entry in found.bins] == [(0.5, 0.6, 2), (0.9, 1, 4)]
    assert found.bins[1]["accuracy_interval"] == wilson_interval(3, 4)


def test_a_bin_holds_its_upper_end() -> None:
    found = measure_calibration(np.array([0, 0.25, 0.5, 0.51, 1]), np.ones(5, dtype=bool), num_bins=4)
    assert [(entry["to"], entry["samples"]) for entry in found.bins] == [(0.25, 2), (0.5, 1), (0.75, 1), (1, 1)]


def test_answers_that_are_as_often_right_as_they_say_have_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    right = rng.random(200_000) < confidence
    assert measure_calibration(confidence, right).error < 0.006
    assert measure_calibration(confidence, ~right).error == pytest.approx(0.5, abs=0.02)  # the mean of |2c - 1|
