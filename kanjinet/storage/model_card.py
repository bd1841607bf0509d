"""What a model's file says about its origin: one dataclass, whichever kind of file holds it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from kanjinet import __version__
from kanjinet.classes import CharacterSet
from kanjinet.contract import check_preprocessing
from kanjinet.errors import brief

REAL, SYNTHETIC = "ETL9G", "KanjiVG"  # sources of data
LICENSE_OF_SOURCE = {
    **{
        source: f"the ETL Character Database ({source}, AIST), whose terms of use apply"
        for source in (REAL, "ETL8G", "ETL9B", "ETL1", "ETL6")
    },
    SYNTHETIC: "synthetic characters drawn from KanjiVG, CC BY-SA 3.0",
}
_FONT = re.compile(r"font ([^()]{1,60}) \(([^()]{1,60})\)")  # a source of synthetic characters: its name and license
MAX_FONTS = 128  # of one folder; a card has room for those of several
SPLITS = ("random", "writers", "etl9")  # how a dataset's images were divided
FITTED, PUBLISHED = INITIALIZATIONS = ("fitted", "published")  # to the training images; at random, as the original's
INIT_FROM = "init-from"  # the initialization by a trained network
PARTS_MEASURED = ("validation", "test")  # of a dataset
MAX_TEXT, MAX_ENTRIES = 1000, 100  # characters of a text, entries of a list or an object

_T = TypeVar("_T")


@dataclass(frozen=True)
class TrainingOptions:
    """Represents what determines a training's weights: stored with them, and compared when a run is resumed."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.001
    sample_limit: int | None = None
    model_version: str = "3.0"
    initialization: str = FITTED
    image_size: int = 64  # of the dataset, pixels a side
    pooling_type: str = "adaptive_avg"
    split: str = "random"
    seed: int = 0
    hiragana_repeats: int = 1
    fresh_sets: int | None = None  # data sets of generated samples in an epoch
    fresh_kana: int | None = None  # sets of as many of all but kanji
    fresh_others: int | None = None  # sets of as many images that show none of the characters
    fresh_difficulty: float | None = None  # of their writers, 0-1
    fresh_writers: str | None = None  # version of their generator
    fresh_fonts_sha256: str | None = None  # of the fonts that are among the writers
    compile: bool = False
    dataset_sha256: str = ""
    init_from_sha256: str | None = None  # of the file of --init-from

    def __post_init__(self) -> None:
        has_samples = self.sample_limit is None or self.sample_limit >= 1
        if self.split not in SPLITS or not 0 <= self.seed < 1 << 32 or not has_samples:
            raise ValueError(f"split {brief(self.split)}, seed {self.seed}, sample_limit {self.sample_limit}")
        if self.initialization not in (*INITIALIZATIONS, INIT_FROM):
            raise ValueError(f"initialization {brief(self.initialization)}")

    @property
    def has_fresh_samples(self) -> bool:
        """Whether some samples are generated for each epoch."""
        return bool(self.fresh_sets or self.fresh_kana or self.fresh_others)


@dataclass(frozen=True)
class Metrics:
    """Represents mean cross-entropy, where it is known, and top-k accuracies, 0-1, on a number of held-out images."""

    loss: float | None
    top1: float
    top3: float
    top5: float
    samples: int


@dataclass(frozen=True)
class Calibration:
    """Represents the temperature that was folded into the last layer, and what it did to the calibration error, 0-1."""

    value: float
    samples: int
    test_calibration_error_before: float
    test_calibration_error_after: float


@dataclass(frozen=True)
class Rejection:
    """Represents the largest probability below which an image is said to show none of the characters, and of whom.

    Fractions, 0-1, are of validation images and of held-out images of other things.
    """

    threshold: float
    rejected_characters: float
    rejected_others: float
    others: int

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold}")


@dataclass(frozen=True)
class Averaging:
    """Represents the files whose weights were averaged, and by which weights."""

    averaged_from_sha256: tuple[str, ...]
    averaged_by_weights: tuple[float, ...]


@dataclass(frozen=True)
class Environment:
    """Represents the software that trained a network; git_revision is "unknown" outside of a repository."""

    kanjinet: str
    python: str
    torch: str
    git_revision: str


@dataclass(frozen=True)
class ModelCard:
    """Represents where a network comes from and how accurate it is."""

    preprocessing: str  # version of it that its training images went through
    sources: tuple[str, ...]  # by `merge_sources`: what it learned from, by its initialization and averages too
    options: TrainingOptions
    best_epoch: int | None = None  # whose weights they are; an average's are of no epoch
    metrics: Mapping[str, Metrics] = field(default_factory=dict)  # of the weights as stored, on PARTS_MEASURED
    calibration: Calibration | None = None
    rejection: Rejection | None = None  # where it learned what shows none of the characters
    averaging: Averaging | None = None
    environment: Environment | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it never saw a real character."""
        return all(source == SYNTHETIC or is_font(source) for source in self.sources)

    @property
    def license(self) -> str:
        """What whoever publishes the weights must keep to."""
        origins = [LICENSE_OF_SOURCE[source] for source in self.sources if not is_font(source)]
        fonts: dict[str, list[str]] = {}
        for found in filter(None, map(_FONT.fullmatch, self.sources)):
            fonts.setdefault(found[2], []).append(found[1])
        for license, names in fonts.items():
            many = "s" * (len(names) > 1)
            origins.append(f"synthetic characters made from the font{many} {', '.join(names)} ({license})")
        return f"MIT (toolkit); trained on {', and on '.join(origins)}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the card as JSON knows it; `from_dict` reads it."""
        training = asdict(self.options)
        if self.best_epoch is not None:
            training["best_epoch"] = self.best_epoch
        training |= {part: asdict(metrics) for part, metrics in self.metrics.items()}
        if self.calibration:
            training["temperature"] = asdict(self.calibration)
        if self.rejection:
            training["rejection"] = asdict(self.rejection)
        if self.averaging:
            training |= {name: list(value) for name, value in asdict(self.averaging).items()}
        return {
            "preprocessing": self.preprocessing,
            "synthetic": self.synthetic,
            "sources": list(self.sources),
            "training": training,
            "dataset_sha256": self.options.dataset_sha256,
            "environment": asdict(self.environment) if self.environment else {},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ModelCard":
        """Builds a card from what a file says, which may come from anyone.

        Raises:
            ValueError: something is missing, or of another kind or size than a card has.
        """
        if missing := [name for name in ("preprocessing", "training", "synthetic") if name not in content]:
            raise ValueError(f"it does not say its {missing[0]}")
        if not isinstance(content["training"], dict):
            raise ValueError(f"training is {brief(content['training'])}, expected an object")
        training = content["training"].copy()  # what is known is taken out of it
        if missing := [name for name in ("split", "seed", "sample_limit", "dataset_sha256") if name not in training]:
            raise ValueError(f"it does not say the {missing[0]} by which the images of its training were divided")
        taken = _take_fields(TrainingOptions, training)
        options = build(TrainingOptions, {"initialization": infer_initialization(taken), **taken})
        averaging = _take_fields(Averaging, training)
        if content.get("dataset_sha256", options.dataset_sha256) != options.dataset_sha256:
            raise ValueError(f"dataset_sha256 is {brief(content['dataset_sha256'])}, and another one in training")
        if not isinstance(content["synthetic"], bool):
            raise ValueError(f"synthetic is {brief(content['synthetic'])}, expected true or false")
        # Files without sources do not say what a network started from: most likely the one that ships.
        is_mixed = options.has_fresh_samples or options.init_from_sha256 or averaging
        older = [SYNTHETIC] if content["synthetic"] else [REAL, SYNTHETIC] if is_mixed else [REAL]
        sources = content.get("sources", older)
        if not _fits(sources, tuple[str, ...]) or not sources or tuple(sources) != merge_sources(sources):
            expected = f"some of {', '.join(LICENSE_OF_SOURCE)}, and fonts"
            raise ValueError(f"sources are {brief(sources)}, expected {expected}")
        card = cls(
            preprocessing=content["preprocessing"],
            sources=tuple(sources),
            options=options,
            best_epoch=training.pop("best_epoch", None),
            metrics={part: build(Metrics, training.pop(part)) for part in PARTS_MEASURED if part in training},
            calibration=build(Calibration, training.pop("temperature")) if "temperature" in training else None,
            rejection=build(Rejection, training.pop("rejection")) if "rejection" in training else None,
            averaging=build(Averaging, averaging) if averaging else None,
            environment=build(Environment, content["environment"]) if content.get("environment") else None,
        )
        if training:
            raise ValueError(f"training has {brief(min(map(str, training)))}, which this version does not know")
        if not _fits(card.preprocessing, str) or not _fits(card.best_epoch, int | None):
            raise ValueError(f"preprocessing {brief(card.preprocessing)}, best_epoch {brief(card.best_epoch)}")
        return card

    def to_strings(self) -> dict[str, str]:
        """Returns the card as metadata of a file that holds text only: structures as JSON."""
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in self.to_dict().items()
        }

    @classmethod
    def from_strings(cls, properties: Mapping[str, str], where: Path) -> "ModelCard":
        """Builds a card from a file's metadata.

        Raises:
            ValueError: as `from_dict`, or text that is no JSON.
            KanjinetError: with `where`, an unknown preprocessing.
        """
        names = ("synthetic", "sources", "training", "environment")
        content = {name: json.loads(properties[name]) for name in names if name in properties}
        card = cls.from_dict({**content, "preprocessing": properties.get("preprocessing")})
        check_preprocessing(card.preprocessing, str(where))
        return card


def infer_initialization(options: Mapping[str, Any]) -> str:
    """Returns the initialization by which a training with these options, from before that was one, began."""
    if options.get("init_from_sha256") is not None:
        return INIT_FROM
    return FITTED if options.get("model_version", TrainingOptions.model_version) == "3.0" else PUBLISHED


def merge_sources(*sources: Iterable[str]) -> tuple[str, ...]:
    """Returns the union of sources of data: the keys of LICENSE_OF_SOURCE in their order, then fonts by name.

    What is neither is left out.
    """
    found = set().union(*sources)
    return (*(source for source in LICENSE_OF_SOURCE if source in found), *sorted(filter(is_font, found)))


def read_fonts(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Reads the fonts that an entry of a file names, which may come from anyone; none where it names none.

    Raises:
        ValueError: they are no fonts, too many, or not in the order of `merge_sources`.
    """
    found = entry.get("fonts", [])
    if not _fits(found, tuple[str, ...]) or not all(map(is_font, found)) or tuple(found) != merge_sources(found):
        raise ValueError(f"fonts are {brief(found)}")
    return tuple(found)


def font_source(name: str, license: str) -> str:
    """Returns how a font is named among sources of data, with its license."""
    return f"font {name} ({license})"


def is_font(source: str) -> bool:
    """Tells whether a source of data is a font."""
    return bool(_FONT.fullmatch(source)) and source.isprintable()


def _take_fields(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    return {each.name: values.pop(each.name) for each in fields(kind) if each.name in values}


def build(kind: type[_T], values: object) -> _T:
    """Builds a dataclass from a file's values, each of which must be of the type that the dataclass names.

    Raises:
        ValueError: a value that is missing, unknown, of another type, too large or no finite number.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{kind.__name__} is {brief(values)}, expected an object")
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints or not _fits(value, hints[name]):
            raise ValueError(f"{brief(name)} is {brief(value)}")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except TypeError as error:  # a field is missing
        raise ValueError(str(error)) from error


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        is_list = isinstance(value, (list, tuple)) and len(value) <= MAX_ENTRIES
        return is_list and all(_fits(each, get_args(hint)[0]) for each in value)  # type: ignore[attr-defined]
    if choices := get_args(hint):
        return any(_fits(value, choice) for choice in choices)
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) < 1 << 63  # which infinity and NaN are not
    if hint is int:
        return type(value) is int and abs(value) < 1 << 63
    # What cannot be printed may be half of a character, which no file can hold.
    return type(value) is hint and (not isinstance(value, str) or (len(value) <= MAX_TEXT and value.isprintable()))


def describe_environment() -> Environment:
    """Returns the versions that a training depends on."""
    import torch

    return Environment(
        kanjinet=__version__,
        python=sys.version.split()[0],
        torch=str(torch.__version__),  # TorchVersion is a class that a safe load refuses
        git_revision=find_git_revision(Path(__file__).parent),
    )


def find_git_revision(folder: Path) -> str:
    """Returns the commit that a folder is at, with "-dirty" where files differ from it, or "unknown"."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
        return result.stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):  # no git, or a copy that is no repository
        return "unknown"


def default_export_path(model_path: Path, character_set: CharacterSet, image_size: int, ending: str) -> Path:
    """Names an export beside its checkpoint: kanji_model_etl9g_64x64_3036classes_tract.onnx for "_tract.onnx"."""
    name, count = character_set.name, character_set.num_classes
    return model_path.with_name(f"kanji_model_{name}_{image_size}x{image_size}_{count}classes{ending}")
