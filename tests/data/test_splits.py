import numpy as np
import pytest

from kanjinet.data.dataset import Labels
from kanjinet.data.splits import choose_samples, split_samples
from kanjinet.errors import KanjinetError


def make_labels(num_classes: int = 40, data_sets: int = 8) -> Labels:
    classes = np.tile(np.arange(num_classes, dtype=np.uint16), data_sets)
    sets = np.repeat(np.arange(1, data_sets + 1, dtype=np.uint8), num_classes)
    return Labels(classes, sets, np.ones(len(classes), dtype=np.uint8))


@pytest.mark.parametrize(("limit", "minimum", "maximum"), [(200, 5, 5), (198, 4, 5), (17, 0, 1), (320, 8, 8)])
def test_limited_samples_are_even_over_the_classes(limit: int, minimum: int, maximum: int) -> None:
    classes = make_labels().classes
    chosen = choose_samples(classes, limit, seed=3)
    counts = np.bincount(classes[chosen], minlength=40)
    assert len(set(chosen.tolist())) == limit == counts.sum()
    assert (counts.min(), counts.max()) == (minimum, maximum)


def test_uneven_classes_give_what_they_have() -> None:
    classes = np.array([0] * 2 + [1] * 50 + [2] * 50, dtype=np.uint16)
    chosen = choose_samples(classes, 42, seed=0)
    assert np.bincount(classes[chosen]).tolist() == [2, 20, 20]


def test_choice_depends_on_the_seed_alone() -> None:
    classes = make_labels().classes
    assert choose_samples(classes, 100, 1).tolist() == choose_samples(classes, 100, 1).tolist()
    assert choose_samples(classes, 100, 1).tolist() != choose_samples(classes, 100, 2).tolist()


def test_more_samples_than_there_are_is_an_error() -> None:
    with pytest.raises(KanjinetError, match="--sample-limit 321: the dataset has 320"):
        choose_samples(make_labels().classes, 321, 0)


@pytest.mark.parametrize("split", ["random", "writers"])
def test_parts_are_disjoint_and_complete(split: str) -> None:
    labels = make_labels()
    chosen = choose_samples(labels.classes, 300, 0)
    parts = split_samples(labels, chosen, split, 0)
    together = np.concatenate(list(parts.values()))
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(together.tolist()) == chosen.tolist()


@pytest.mark.parametrize("per_class", [5, 8, 20, 200])
def test_random_split_is_70_15_15_in_all_and_near_it_in_each_class(per_class: int) -> None:
    labels = make_labels(data_sets=per_class)
    parts = split_samples(labels, np.arange(len(labels)), "random", 7)
    fractions = {"train": 0.70, "validation": 0.15, "test": 0.15}
    for name, fraction in fractions.items():
        assert len(parts[name]) == pytest.approx(fraction * len(labels), abs=2)
        per = np.bincount(labels.classes[parts[name]], minlength=40)
        assert np.abs(per - fraction * per_class).max() <= 1.0


def test_writers_split_keeps_whole_data_sets_together() -> None:
    labels = make_labels()
    parts = split_samples(labels, np.arange(len(labels)), "writers", 0)
    sets = [set(labels.data_sets[indices].tolist()) for indices in parts.values()]
    assert [len(each) for each in sets] == [6, 1, 1]
    assert set.union(*sets) == set(range(1, 9))


def test_too_few_data_sets_for_a_writers_split() -> None:
    labels = make_labels(data_sets=2)
    with pytest.raises(KanjinetError, match="at least 3 data sets, the chosen ones are of 2"):
        split_samples(labels, np.arange(len(labels)), "writers", 0)


def test_too_few_samples_for_three_parts() -> None:
    labels = make_labels()
    with pytest.raises(KanjinetError, match="larger --sample-limit"):
        split_samples(labels, np.arange(4), "random", 0)


def test_etl9_split_tests_on_the_first_and_the_last_twenty_data_sets() -> None:
    labels = make_labels(num_classes=3, data_sets=200)
    parts = split_samples(labels, np.arange(len(labels)), "etl9", 0)
    sets = {name: set(labels.data_sets[indices].tolist()) for name, indices in parts.items()}
    assert sets["test"] == {*range(1, 21), *range(181, 201)}
    assert len(sets["validation"]) == 8
    assert sets["train"] | sets["validation"] == set(range(21, 181))
    assert not sets["train"] & sets["validation"]
    other_seed = split_samples(labels, np.arange(len(labels)), "etl9", 1)
    assert other_seed["test"].tolist() == parts["test"].tolist()


def test_etl9_split_without_all_data_sets_is_an_error() -> None:
    labels = make_labels(num_classes=3, data_sets=199)
    with pytest.raises(KanjinetError, match=r"1 are missing, number 200.*--split writers"):
        split_samples(labels, np.arange(len(labels)), "etl9", 0)


@pytest.mark.parametrize("split", ["writers", "etl9"])
def test_each_database_has_writers_of_its_own_in_each_part(split: str) -> None:
    main = make_labels(num_classes=3, data_sets=200)
    beside = np.arange(201, 256, dtype=np.uint8)
    labels = Labels(
        np.append(main.classes, np.zeros(55, np.uint16)),
        np.append(main.data_sets, beside),
        np.append(main.sheets, np.ones(55, np.uint8)),
    )
    parts = split_samples(labels, np.arange(len(labels)), split, 0)
    alone = split_samples(main, np.arange(len(main)), split, 0)
    for name, counts in (("validation", [4, 4]), ("test", [4, 4])):
        held_out = labels.data_sets[parts[name]]
        assert [
            np.count_nonzero((held_out >= low) & (held_out < high)) for low, high in ((201, 226), (226, 256))
        ] == counts
        assert parts[name][: len(alone[name])].tolist() == alone[name].tolist()  # as without ETL1 and ETL6
