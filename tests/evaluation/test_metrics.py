"""Accuracies, intervals and calibration, against published numbers, definitions and sums done by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from kanjinet.classes import ETL9G_SET, NO_CLASS
from kanjinet.evaluation.metrics import Predictions
from kanjinet.evaluation.results import FolderSource, ModelMetrics
from kanjinet.training.accuracy import Accuracy, bin_by_confidence, calibration_error


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
    assert Accuracy(hits, total).interval == pytest.approx((low, high), abs=5e-5)
    mirrored = Accuracy(total - hits, total).interval
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_interval_ends_are_where_the_score_test_just_accepts() -> None:
    for hits, total in ((1, 2), (284, 290), (91_000, 91_080)):
        for end in Accuracy(hits, total).interval:
            distance = abs(hits / total - end) / math.sqrt(end * (1 - end) / total)
            assert distance == pytest.approx(1.959964, abs=1e-5)
    assert Accuracy(5, 5).interval[1] == 1
    assert Accuracy(0, 5).interval[0] == 0


def test_scipy_and_scikit_learn_find_the_same() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 80, 500)
    logits = rng.normal(size=(500, 80)) + 3 * np.eye(80)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = Predictions(labels, np.argsort(-logits, axis=1)[:, :5], probabilities.max(axis=1))

    accuracy = predictions.top_k_accuracy()
    for k, found in accuracy.items():
        assert found.value == top_k_accuracy_score(labels, logits, k=k, labels=range(80))
        assert found.interval == pytest.approx(
            binomtest(found.hits, found.samples).proportion_ci(0.95, method="wilson"), abs=1e-12
        )
    matrix = confusion_matrix(labels, predictions.ranked[:, 0], labels=range(80))
    np.fill_diagonal(matrix, 0)
    confusions = predictions.count_confusions()
    assert len(confusions) == np.count_nonzero(matrix) > 50
    assert all(matrix[label, predicted] == count for label, predicted, count in confusions)
    bins = bin_by_confidence(predictions.confidence, predictions.is_correct)
    accuracies, confidences = calibration_curve(predictions.is_correct, predictions.confidence, n_bins=15)
    assert [each.accuracy.value for each in bins] == pytest.approx(accuracies.tolist())
    assert [each.confidence for each in bins] == pytest.approx(confidences.tolist())


@pytest.mark.parametrize(("hits", "samples"), [(0, 0), (3, 2), (-1, 2)])
def test_accuracies_that_cannot_be_are_refused(hits: int, samples: int) -> None:
    with pytest.raises(ValueError, match="samples"):
        Accuracy(hits, samples)


def make_predictions() -> Predictions:
    """Six predictions: for あ three times (class 0), 亜 (71) twice, 田 (2080) once."""
    return Predictions(
        labels=np.array([0, 0, 0, 71, 71, 2080]),
        ranked=np.array(
            [
                [0, 1, 2, 3, 4],
                [5, 0, 2, 3, 4],
                [5, 6, 7, 8, 0],
                [71, 0, 1, 2, 3],
                [5, 6, 7, 8, 9],
                [NO_CLASS] * 5,
            ]
        ),
        confidence=np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.0]),
    )


def test_accuracies_are_counted() -> None:
    predictions = make_predictions()
    assert predictions.top_k_accuracy() == {1: Accuracy(2, 6), 3: Accuracy(3, 6), 5: Accuracy(4, 6)}
    kana = predictions.top_k_accuracy(predictions.is_of("hiragana"))
    assert kana == {1: Accuracy(1, 3), 3: Accuracy(2, 3), 5: Accuracy(3, 3)}
    assert predictions.top_k_accuracy(np.zeros(6, dtype=bool)) == {}


def test_groups_confusions_and_hardest_characters() -> None:
    predictions = make_predictions()
    groups = predictions.accuracy_by(np.array([7, 7, 9, 9, 9, 9], dtype=np.uint8))
    assert list(groups.items()) == [(7, Accuracy(1, 2)), (9, Accuracy(1, 4))]
    assert predictions.count_confusions() == [(0, 5, 2), (71, 5, 1), (2080, NO_CLASS, 1)]
    assert predictions.list_errors(0) == [5]
    # 0 of 1 may be chance (up to 0.79), as may 1 of 3 (0.79) and 1 of 2 (0.91)
    assert [label for label, _ in predictions.rank_hardest()] == [0, 2080, 71]


def test_the_most_frequent_error_comes_first_and_of_equal_ones_the_most_confident() -> None:
    labels = np.array([3, 3, 3, 3, 9, 8, 2])
    ranked = np.array([[7], [6], [7], [5], [1], [1], [2]])
    predictions = Predictions(labels, ranked, np.array([0.1, 0.2, 0.1, 0.3, 0.6, 0.7, 0.9]))
    assert predictions.list_errors(3) == [7, 5, 6]
    assert predictions.count_confusions() == [(3, 7, 2), (8, 1, 1), (9, 1, 1), (3, 5, 1), (3, 6, 1)]


def test_models_are_compared_image_by_image() -> None:
    first = make_predictions()
    ranked = first.ranked.copy()
    ranked[0, 0], ranked[4, 0], ranked[5, 0] = 3, 71, 2080
    second = Predictions(first.labels, ranked, first.confidence)
    assert second.compare_with(first) == {"only_this_right": 2, "only_first_right": 1}


def test_calibration_is_the_weighted_gap() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    found = bin_by_confidence(confidence, right, num_bins=10)
    # |0.95 - 3/4| in 4 of 6 predictions, |0.55 - 1/2| in 2 of 6
    assert calibration_error(found) == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.05)
    assert [(each.low, each.high, each.accuracy) for each in found] == [
        (0.5, 0.6, Accuracy(1, 2)),
        (0.9, 1, Accuracy(3, 4)),
    ]


def test_a_bin_holds_its_upper_end() -> None:
    found = bin_by_confidence(np.array([0, 0.25, 0.5, 0.51, 1]), np.ones(5, dtype=bool), num_bins=4)
    assert [(each.high, each.accuracy.samples) for each in found] == [(0.25, 2), (0.5, 1), (0.75, 1), (1, 1)]


def test_predictions_that_are_as_often_right_as_they_claim_have_no_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    right = rng.random(200_000) < confidence
    assert calibration_error(bin_by_confidence(confidence, right)) < 0.006
    off = calibration_error(bin_by_confidence(confidence, ~right))
    assert off == pytest.approx(0.5, abs=0.02)  # the mean of |2c - 1|


def make_metrics(predictions: Predictions, strokes: dict[int, Accuracy]) -> ModelMetrics:
    return ModelMetrics(
        model="model.onnx",
        size_bytes=5,
        trained_on_synthetic_sample=True,
        trained_on=["KanjiVG"],
        license="CC BY-SA 3.0",
        source=FolderSource("drawings"),
        without_character=1,
        num_characters=3036,
        said_none=None,
        not_read=["one"],
        accuracy=predictions.top_k_accuracy(),
        character_set=ETL9G_SET,
        up_to_twins={},
        scripts={script: predictions.top_k_accuracy(predictions.is_of(script)) for script in ("kanji", "hiragana")},
        writers={},
        stroke_counts=strokes,
        calibration=bin_by_confidence(predictions.confidence, predictions.is_correct),
        confusions=predictions.count_confusions(),
        hardest=[],
        images_per_s=12.34,
        images_per_s_with_reading=10,
        comparison={},
        allow=None,
    )


def test_groups_that_do_not_add_up_are_refused() -> None:
    result = make_metrics(make_predictions(), {3: Accuracy(2, 6)}).to_dict()
    assert (result["images"], result["samples"], result["top1"]) == ("drawings", 6, 2 / 6)
    assert result["top5_interval"] == Accuracy(4, 6).interval
    assert result["stroke_counts"][0]["top1_interval"] == Accuracy(2, 6).interval
    with pytest.raises(ValueError, match="do not add up"):
        make_metrics(make_predictions(), {3: Accuracy(2, 5)})
