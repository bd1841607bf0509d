"""Readers of files that may come from anyone: the right result or KanjinetError, whatever the bytes are."""

import importlib.util
import io
import json
import platform
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, require
from tests.fuzz.readers import READERS, make_descriptions, read_one

HAS_ATHERIS_WHEEL = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info >= (3, 11)
EXAMPLES = {"records": 60, "m_records": 60, "chunk": 150, "image": 250, "checkpoint": 60, "safetensors": 60}
# The same examples each time: what CI finds, anyone finds again.
quick = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@cache
def make_seeds(name: str) -> list[bytes]:
    return READERS[name].make_seeds()


def check(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        error = read_one(name, content, Path(folder))
    if error is not None:
        raise error


@pytest.mark.parametrize("name", ["records", "m_records", "chunk", "chunk_info", "metadata", "mapping", "image"])
def test_whole_files_are_accepted(name: str, tmp_path: Path) -> None:
    for seed in make_seeds(name):
        READERS[name].read(seed, tmp_path)


@st.composite
def mutilate(draw: Callable[..., Any], seeds: list[bytes]) -> bytes:
    """A file with some bytes changed, mostly where headers are, a part doubled or left out, or its end cut off."""
    content = bytearray(draw(st.sampled_from(seeds)))
    last = len(content) - 1
    places = st.integers(0, min(last, 200)) | st.integers(max(0, last - 200), last) | st.integers(0, last)
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        content[place] = value
    start, end = sorted(draw(st.tuples(places, places)))
    ending = draw(st.sampled_from(("whole", "cut", "left out", "doubled")))
    if ending == "cut":
        return bytes(content[:end])
    if ending == "left out":
        return bytes(content[:start] + content[end:])
    return bytes(content + content[start:end]) if ending == "doubled" else bytes(content)


@pytest.mark.parametrize("name", EXAMPLES)
def test_mutilated_files_are_read_or_refused(name: str) -> None:
    @settings(quick, max_examples=EXAMPLES[name])
    @given(mutilate(make_seeds(name)) | st.binary(max_size=300))
    def run(content: bytes) -> None:
        check(name, content)

    run()


HEADER_WORDS = st.sampled_from(
    ["{", "}", "(", ")", ",", ":", "'descr'", "'shape'", "'fortran_order'", "False", "'<u2'", "'|O'", "'|V0'", "-", "3"]
    + [f"{10**20}", "\n", " ", "[", "]", "'", "\\", "None", "'<f8'", "1.5", "1e999", "#"]
)


@settings(quick, max_examples=150)
@given(st.lists(HEADER_WORDS, max_size=30), st.binary(max_size=40), st.sampled_from((1, 2, 3, 9)))
def test_headers_of_arrays_are_read_or_refused(words: list[str], values: bytes, version: int) -> None:
    header = "".join(words).encode()
    length = struct.pack("<H" if version == 1 else "<L", len(header))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("X", "y", "data_set", "sheet"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + bytes([version, 0]) + length + header + values)
    check("chunk", file.getvalue())


SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=9)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


def list_places(content: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every value in a JSON document but the class table's single entries, by the way to it."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    below = [each for name, value in list(inner)[:20] for each in list_places(value, (*place, name))]
    return [place, *below]


@st.composite
def change_description(draw: Callable[..., Any], name: str) -> bytes:
    """A JSON file of a dataset with one value exchanged for another, or left out."""
    content = {"": json.loads(make_descriptions()[name])}
    *way, last = draw(st.sampled_from(list_places(content)[1:]))
    inner: Any = content
    for step in way:
        inner = inner[step]
    if last != "" and draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = draw(JSON)
    return json.dumps(content[""], ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", ["chunk_info", "metadata", "mapping"])
def test_changed_descriptions_are_read_or_refused(name: str) -> None:
    file = {"chunk_info": "chunk_info.json", "metadata": "metadata.json", "mapping": "character_mapping.json"}[name]

    @settings(quick, max_examples=60)
    @given(change_description(file))
    def run(content: bytes) -> None:
        check(name, content)

    run()


@pytest.mark.skipif(not HAS_ATHERIS_WHEEL, reason="atheris has no wheel for this machine")
def test_the_fuzzer_counts_what_it_reads() -> None:
    require(importlib.util.find_spec("atheris"), "python -m pip install atheris")
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--readers", "records"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^records +([\d,]+) +0$", output, re.MULTILINE)
    assert found, output
    assert int(found[1].replace(",", "")) > 2
