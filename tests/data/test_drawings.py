"""Files of real drawings: what is read of them, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from kanjinet.data.drawings import read_drawings
from kanjinet.errors import KanjinetError


def test_dark_ink_on_white_becomes_bright_on_black(tmp_path: Path) -> None:
    images = np.full((2, 30, 40), 255, dtype=np.uint8)
    images[1, 5, 6] = 10
    np.savez(tmp_path / "drawings.npz", images=images, characters=np.array(["あ", "田"]))
    drawings = read_drawings(tmp_path / "drawings.npz")
    assert drawings.classes.tolist() == [0, 2080]
    assert drawings.ink[0].max() == 0
    assert drawings.ink[1, 5, 6] == 245


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((1, 9, 9), np.uint8)}, "characters"),
        ({"images": np.zeros((1, 9, 9), np.float32), "characters": np.array(["あ"])}, "float32"),
        ({"images": np.zeros((2, 9, 9), np.uint8), "characters": np.array(["あ"])}, r"\(1,\)"),
        ({"images": np.zeros((0, 9, 9), np.uint8), "characters": np.zeros(0, "<U1")}, "are no drawings"),
        ({"images": np.zeros((1, 9, 9), np.uint8), "characters": np.array(["ア"])}, "'ア' is none of"),
        ({"images": np.zeros((1, 9, 9), np.uint8), "characters": np.array([{}], dtype=object)}, "not a file of"),
    ],
)
def test_what_is_no_drawing_is_refused_by_name(tmp_path: Path, arrays: dict, message: str) -> None:
    path = tmp_path / "drawings.npz"
    np.savez(path, **arrays)
    with pytest.raises(KanjinetError, match=message) as error:
        read_drawings(path)
    assert "drawings.npz" in str(error.value)


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KanjinetError, match="not found"):
        read_drawings(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(KanjinetError, match="not a file of drawings"):
        read_drawings(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(KanjinetError, match="not a file of drawings"):
        read_drawings(tmp_path / "array.npy")
