"""Which samples are used, and which of them for training, validation and test.

The splits are not scikit-learn's, because models that are out there find their held-out parts by (split, seed), which
a library's would change, and because `StratifiedShuffleSplit` refuses classes of fewer than six or so samples, as
--sample-limit 15000 leaves them.
"""

import contextlib

import numpy as np
import numpy.typing as npt

from kanjinet.data.dataset import Labels
from kanjinet.data.etl_records import ETL1, ETL6, NUM_DATA_SETS
from kanjinet.errors import KanjinetError
from kanjinet.storage.model_card import TrainingOptions

PARTS = ("train", "validation", "test")
VALIDATION_FRACTION, TEST_FRACTION = 0.15, 0.15  # the rest is for training
MAX_UNTRAINED_FRACTION = 0.01  # of the held-out samples: those of classes without a training sample

_ETL9_TEST_SETS = 20  # at the beginning and as many at the end of the 200
_ETL9_VALIDATION_SETS = 8  # of the 160 between, so that the choice of the best epoch does not look at the test
# Of 20 samples of a class, dealt in turn; spread so that a class of five still has three for training.
_VALIDATION_SLOTS, _TEST_SLOTS = (3, 10, 16), (6, 13, 19)

Indices = npt.NDArray[np.int64]


def choose_samples(labels: npt.NDArray[np.uint16], limit: int | None, seed: int) -> Indices:
    """Chooses samples: all, or `limit` of them, as evenly over the classes as the number allows.

    Returns:
        Their indices, ascending.

    Raises:
        KanjinetError: more samples are asked for than there are.
    """
    if limit is None:
        return np.arange(len(labels))
    if limit > len(labels):
        raise KanjinetError(
            f"--sample-limit {limit:,}: the dataset has {len(labels):,} samples", "choose fewer, or all"
        )
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sorted_labels = labels[by_class]
    rank_in_class = np.arange(len(by_class)) - np.searchsorted(sorted_labels, sorted_labels)
    # Each class's first sample, then each one's second, ...; classes in random order within a round.
    class_order = np.random.default_rng([seed, 1]).permutation(int(labels.max()) + 1)
    rounds = np.lexsort((class_order[sorted_labels], rank_in_class))
    return np.sort(by_class[rounds[:limit]])


def split_samples(labels: Labels, chosen: Indices, split: str, seed: int) -> dict[str, Indices]:
    """Splits the chosen samples, 70 / 15 / 15, into disjoint index arrays for "train", "validation" and "test".

    Args:
        labels: of the whole dataset, into which `chosen` are indices.
        split: "random": stratified by class, so that a writer's other characters may be in training;
            "writers": whole data sets of each database, so that the writers of validation and test are never seen in
            training; "etl9": the same, with the first 20 and the last 20 data sets as the test, as in the literature on
            ETL9, and 8 of the 160 between for validation.

    Raises:
        KanjinetError: too few samples or data sets to fill all three parts.
    """
    rng = np.random.default_rng([seed, 2])
    if split == "writers":
        slots = _slots_of_data_sets(labels.data_sets[chosen], rng)
    elif split == "etl9":
        slots = _slots_of_literature(labels.data_sets, rng)[labels.data_sets[chosen]]
    else:
        shuffled = rng.permutation(chosen)
        chosen = shuffled[np.argsort(labels.classes[shuffled], kind="stable")]
        pattern = np.array([1 if s in _VALIDATION_SLOTS else 2 if s in _TEST_SLOTS else 0 for s in range(20)])
        slots = pattern[(np.arange(len(chosen)) + rng.integers(20)) % 20]
    parts = {name: np.sort(chosen[slots == number]) for number, name in enumerate(PARTS)}
    for name, indices in parts.items():
        if len(indices) < 2:
            raise KanjinetError(
                f"{len(chosen)} samples leave {len(indices)} for {name}", "use a larger --sample-limit, or none"
            )
    return parts


def count_untrained(classes: npt.NDArray[np.uint16], parts: dict[str, Indices]) -> int:
    """Counts the held-out samples of classes that have no sample to train on, so that they cannot be recognized."""
    trained = classes[parts["train"]]
    return sum(int(np.count_nonzero(~np.isin(classes[parts[name]], trained))) for name in PARTS[1:])


def find_sensible_limit(labels: Labels, split: str, seed: int) -> int | None:
    """Finds the smallest whole number of samples a class with which nearly every held-out sample's class is trained.

    Returns:
        The limit, in samples; None where only all samples do.
    """
    num_classes = len(np.unique(labels.classes))
    for limit in range(num_classes, len(labels) + 1, num_classes):
        chosen = choose_samples(labels.classes, limit, seed)
        with contextlib.suppress(KanjinetError):  # too few for this split
            parts = split_samples(labels, chosen, split, seed)
            if count_untrained(labels.classes, parts) <= MAX_UNTRAINED_FRACTION * (limit - len(parts["train"])):
                return limit
    return None


def split_as_trained(labels: Labels, dataset_sha256: str, options: TrainingOptions) -> dict[str, Indices]:
    """Splits a whole dataset as the training with these options did; of another dataset, all samples are used."""
    limit = options.sample_limit if options.dataset_sha256 == dataset_sha256 else None
    return split_samples(labels, choose_samples(labels.classes, limit, options.seed), options.split, options.seed)


def _slots_of_data_sets(data_sets: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Assigns samples to 0, 1 or 2 (train, validation, test) by their data sets."""
    present = np.unique(data_sets)
    if len(present) < 3:
        raise KanjinetError(
            f"--split writers needs samples of at least 3 data sets, the chosen ones are of {len(present)}",
            "use a larger --sample-limit, prepare more ETL9G files, or use --split random",
        )
    slot_of_set = np.zeros(256, dtype=np.int64)
    for of_database in _divide_by_database(present):
        _hold_out(slot_of_set, of_database, rng)
    return slot_of_set[data_sets]


def _divide_by_database(present: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Divides data sets among ETL1, ETL6 and the database that they stand beside, those of them that are there."""
    firsts = np.searchsorted(present, [ETL1.first_label, ETL6.first_label])
    return [found for found in np.split(present, firsts) if len(found)]


def _hold_out(slot_of_set: npt.NDArray[np.int64], present: npt.NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Sets the slots of some data sets of one database to 1 or 2 (validation, test); of fewer than three, of none."""
    if len(present) < 3:
        return
    num_validation = max(1, round(len(present) * VALIDATION_FRACTION))
    num_test = max(1, round(len(present) * TEST_FRACTION))
    shuffled = rng.permutation(present)
    slot_of_set[shuffled[:num_validation]] = 1
    slot_of_set[shuffled[num_validation : num_validation + num_test]] = 2


def _slots_of_literature(data_sets: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Assigns each number of a data set to 0, 1 or 2 (train, validation, test)."""
    missing = sorted(set(range(1, NUM_DATA_SETS + 1)) - set(np.unique(data_sets).tolist()))
    if missing:
        raise KanjinetError(
            f"--split etl9 needs all {NUM_DATA_SETS} data sets, {len(missing)} are missing, number {missing[0]} the "
            "first",
            "prepare all files of ETL9G or ETL9B, or use --split writers",
        )
    slots = np.zeros(256, dtype=np.int64)
    between = np.arange(_ETL9_TEST_SETS + 1, NUM_DATA_SETS - _ETL9_TEST_SETS + 1)
    slots[1 : NUM_DATA_SETS + 1] = 2
    slots[between] = 0
    slots[rng.choice(between, _ETL9_VALIDATION_SETS, replace=False)] = 1
    for of_database in _divide_by_database(np.unique(data_sets[data_sets > NUM_DATA_SETS])):
        _hold_out(slots, of_database, rng)
    return slots
