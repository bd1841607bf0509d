"""The character set japanese, through the stages: samples, dataset, a network of another set, predictions, exports."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

import kanjinet
from kanjinet.classes import ETL9G_SET, JAPANESE_SET
from kanjinet.contract import NORMALIZE
from kanjinet.data.dataset import read_dataset_info, read_labels
from kanjinet.data.etl_records import JAPANESE, RECORD_DTYPE, write_records
from kanjinet.data.preprocessing import preprocess
from kanjinet.errors import KanjinetError
from kanjinet.evaluation.recognizer import PRETRAINED_PATH, Recognizer
from kanjinet.storage.checkpoint import load_checkpoint, save_checkpoint
from kanjinet.storage.safetensors_file import load_trained_network
from kanjinet.synth.other_characters import Kind, list_others
from kanjinet.synth.others import choose_kinds, list_kinds
from kanjinet.synth.printed import draw_character
from kanjinet.synth.sheets import Sample, list_sheet_classes, make_sheet_records
from kanjinet.training.augmentation import Augmentation
from kanjinet.training.initialization import change_characters
from kanjinet.training.samples import Samples, to_float_images
from tests.conftest import read_schema, run_script
from tests.random_checkpoint import CARD, export_japanese, make_checkpoint, make_japanese

KNOWN = JAPANESE_SET.class_of_character


def test_a_data_set_has_each_character_once() -> None:
    sheets = list_sheet_classes(JAPANESE_SET)
    assert len(sheets) == JAPANESE.sheets_per_set == 44
    assert np.array_equal(np.sort(np.concatenate(sheets)), np.arange(6594))
    assert all(3 <= np.count_nonzero(~JAPANESE_SET.is_of("kanji")[sheet]) <= 8 for sheet in sheets[:-1])


@pytest.fixture(scope="module")
def records() -> npt.NDArray[np.void]:
    """Sheet 30 of a sample."""
    return make_sheet_records(Sample(1, 3, 0.0, JAPANESE), 1, 30)


def test_records_hold_the_codes_of_jis_x_0213(records: npt.NDArray[np.void]) -> None:
    assert records.dtype == RECORD_DTYPE
    for code, reading in zip(records["jis_code"].tolist(), records["reading"].tolist(), strict=True):
        character = bytes([0x80 | code >> 8, 0x80 | code & 0xFF]).decode("euc_jis_2004")
        plain = chr(ord(character) - 0xFEE0) if "０" <= character <= "ｚ" else character  # from full width to ASCII
        assert reading == f"U+{ord(plain):04X}".encode().ljust(8), plain
    assert records["pixels"].any(axis=(1, 2)).all()


@pytest.mark.slow
def test_a_dataset_says_which_set_it_is_of(records: npt.NDArray[np.void], tmp_path: Path) -> None:
    """That of a sample's own, of ETL9G's files where asked, and of ETL9G's by default."""
    for name in ("JAPANESE", "ETL9G"):
        (tmp_path / name).mkdir()
    codes = records["jis_code"].astype(np.uint16)
    is_known = np.isin(codes, ETL9G_SET.jis_codes)
    write_records(tmp_path / "JAPANESE" / "JAPANESE_01", [records], JAPANESE)
    write_records(tmp_path / "ETL9G" / "ETL9G_01", [records[is_known]])
    for source, options, expected, chosen in (
        ("JAPANESE", [], JAPANESE_SET, codes),
        ("ETL9G", ["--characters", "japanese"], JAPANESE_SET, codes[is_known]),
        ("ETL9G", [], ETL9G_SET, codes[is_known]),
        ("JAPANESE", ["--characters", "etl9g"], ETL9G_SET, codes[is_known]),  # others are left out
    ):
        target = f"{source}{len(options)}"
        command = ["prepare_etl9g_dataset.py", "--etl-dir", source, "--output-dir", target, "--allow-partial", *options]
        run_script(command, tmp_path)
        info = read_dataset_info(tmp_path / target)
        assert info.character_set == expected
        assert np.array_equal(expected.jis_codes[read_labels(info).classes], chosen)
        assert (tmp_path / target / f"{'japanese' if source == 'JAPANESE' else 'etl9g'}_dataset_chunk_01.npz").is_file()
        run_script(["prepare_etl9g_dataset.py", "--verify", "--output-dir", target], tmp_path)


def test_what_is_in_the_set_is_not_among_the_others() -> None:
    others = list_others(JAPANESE_SET)
    assert not set("".join(others.values())) & set(JAPANESE_SET.characters)
    for looks_like_another in "。゜亻丨彐礻氵":  # like o, イ, 1, ヨ, ネ and シ
        assert looks_like_another not in "".join(others.values())
    assert set(list_kinds(JAPANESE_SET)) == {Kind.SIGNS, Kind.KANJI, Kind.SCRIBBLES, Kind.CLICKS}
    assert set(choose_kinds(500, np.random.default_rng(0), JAPANESE_SET)) == set(list_kinds(JAPANESE_SET))


def make_recognizer(probabilities: dict[str, float]) -> Recognizer:
    """A network that always gives these probabilities."""
    logits = np.full((1, JAPANESE_SET.num_classes), -30, np.float32)
    for character, probability in probabilities.items():
        logits[0, KNOWN[character]] = np.log(probability)
    return Recognizer(Path("x.onnx"), lambda inputs: logits.repeat(len(inputs), 0), 7, 64, CARD, JAPANESE_SET)


def read(probabilities: dict[str, float], top: int = 4, allow: str | None = None) -> list[tuple[str, float]]:
    recognizer = make_recognizer(probabilities)
    allowed = recognizer.check_request(top, allow)
    [found] = recognizer.list_candidates([np.ones((64, 64), np.uint8)], top, allowed)
    return [(each.character, round(each.probability, 3)) for each in found]


def test_twins_follow_each_other_and_count_together() -> None:
    found = read({"つ": 0.3, "っ": 0.25, "ラ": 0.4, "力": 0.05})
    assert found == [("つ", 0.3), ("っ", 0.25), ("ラ", 0.4), ("力", 0.05)]
    assert read({"ラ": 0.4, "力": 0.35, "亜": 0.25}, top=5)[1:4] == [("力", 0.35), ("カ", 0.0), ("ヵ", 0.0)]


def test_the_softmax_is_over_what_is_allowed() -> None:
    found = read({"カ": 0.6, "力": 0.3, "刀": 0.1}, allow="kanji", top=2)
    assert found == [("力", 0.75), ("刀", 0.25)]
    assert read({"カ": 0.6, "力": 0.3, "刀": 0.1}, allow="刀力1", top=5) == [("力", 0.75), ("刀", 0.25), ("1", 0.0)]
    with pytest.raises(KanjinetError, match="none of the 6,594"):
        read({"カ": 1.0}, allow="☃")


def test_what_is_none_is_told_by_twins_together_whatever_is_allowed() -> None:
    recognizer = make_recognizer({"O": 0.3, "0": 0.3, "〇": 0.3, "亜": 0.1})
    images = np.ones((1, 64, 64), np.uint8)
    assert recognizer.find_best(images, 1).confidence[0] == pytest.approx(0.9)
    allowed = JAPANESE_SET.find_allowed("亜")
    assert recognizer.find_best(images, 1, allowed).confidence[0] == pytest.approx(0.9)


def test_a_network_of_another_set_keeps_what_it_knows(tmp_path: Path) -> None:
    known, changed = make_checkpoint().model, make_japanese()
    inputs = torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        before, after = known(inputs), changed.model(inputs)
    columns = [KNOWN[each] for each in ETL9G_SET.characters]
    torch.testing.assert_close(after[:, columns], before, rtol=1e-4, atol=1e-4)
    new = [KNOWN[each] for each in "アイウエオ"]
    assert (after[:, new].std(0) > 0).all()
    save_checkpoint(tmp_path / "j.pth", changed)
    loaded = load_checkpoint(tmp_path / "j.pth")
    assert loaded.character_set == JAPANESE_SET
    back = change_characters(loaded, ETL9G_SET, Samples(torch.empty(0), torch.empty(0)))
    with torch.inference_mode():
        torch.testing.assert_close(back(inputs), before, rtol=1e-4, atol=1e-4)


def test_new_rows_go_with_those_that_the_network_knows() -> None:
    """Printed katakana are read, of all 6,594 characters, and kanji as before, though nothing was trained."""
    pretrained = PRETRAINED_PATH.with_name("kanji_model_etl9g_64x64_3036classes.safetensors")
    text = "アイウオキクケサシスセソテナヌネホマミムメモユラ" + "田永語亜曜国東京駅前"
    drawn = np.stack([draw_character(character) for character in text])
    inputs = torch.from_numpy(preprocess(drawn, 64, NORMALIZE, cells=False))
    labels = torch.tensor([KNOWN[character] for character in text])
    torch.manual_seed(0)
    images = Augmentation()(to_float_images(inputs.repeat(8, 1, 1))).mul(255).to(torch.uint8)[:, 0]
    model = change_characters(load_trained_network(pretrained), JAPANESE_SET, Samples(images, labels.repeat(8)))
    with torch.inference_mode():
        found = model(to_float_images(inputs)).argmax(1)
    assert (found == labels).float().mean() > 0.9


@pytest.mark.slow
def test_an_export_carries_its_class_table_and_twins(tmp_path: Path) -> None:
    path = export_japanese(tmp_path)
    mapping = json.loads((path.with_name(f"{path.stem}_mapping.json")).read_text(encoding="utf-8"))
    read_schema("character_mapping").validate(mapping)
    assert mapping["characters"][str(KNOWN["𠮟"])] == {"character": "𠮟", "jis_code": "4F54", "stroke_count": 5}
    assert "カヵ力" in mapping["model_info"]["twins"]
    properties = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert properties["character_set"] == "japanese"
    assert json.loads(properties["twins"]) == mapping["model_info"]["twins"]
    recognizer = kanjinet.load(path)
    assert recognizer.character_set == JAPANESE_SET
    found = recognizer.read(np.eye(64, dtype=np.uint8) * 255, top=20, allow="kana")
    assert len(found) == 20 and JAPANESE_SET.find_allowed("kana")[[KNOWN[each.character] for each in found]].all()
