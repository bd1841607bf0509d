"""ONNX files as bytes: reading those that may come from anyone, and running them in onnxruntime."""

import hashlib
import re
from pathlib import Path
from typing import Any

from kanjinet.errors import KanjinetError, brief
from kanjinet.storage.files import read_bounded

MAX_MODEL_BYTES = 1 << 28
CHECKSUM = "content_sha256"
DEVICES = ("auto", "cpu", "cuda", "mps")  # as PyTorch names them
DEVICE_HELP = "cuda: a GPU of NVIDIA, or of AMD with ROCm; mps: Apple's; auto: the one that is there, or the CPU"

# A tensor whose weights lie elsewhere names the file under the key "location", a Protocol Buffers string: after its
# length, 8, in one byte, or in several of which the last is 0. In text, no such byte stands before the word.
_LOCATION = re.compile(rb"[\x08\0]location(?:\x12([\0-\x7f])(.{0,127}))?", re.DOTALL)
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"  # onnxruntime's names


def read_self_contained(path: Path, remedy: str) -> bytes:
    """Reads an ONNX file that names no other file: an engine would read whatever path stands in it.

    Raises:
        KanjinetError: a damaged file, or one whose weights lie elsewhere.
        OSError: it cannot be read.
    """
    content = read_bounded(path, MAX_MODEL_BYTES, remedy)
    check_seal(content, path, remedy)
    if match := _LOCATION.search(content):
        length, value = match.groups(default=b"\0")
        location = value[: length[0]].decode("utf-8", "replace")
        raise KanjinetError(f"{path}: its weights lie in another file, {brief(location)}, which is never read", remedy)
    return content


def seal(content: bytes) -> bytes:
    """Appends one more metadata entry to an ONNX file, CHECKSUM: the SHA-256 of all bytes before it.

    A Protocol Buffers message may go on after its end: what is appended is read as if it had stood in it.
    """
    digest = hashlib.sha256(content).hexdigest().encode()
    entry = b"\n%c%b\x12%c%b" % (len(CHECKSUM), CHECKSUM.encode(), len(digest), digest)  # key, value
    return content + b"r%c%b" % (len(entry), entry)  # ModelProto.metadata_props


def check_seal(content: bytes, path: Path, remedy: str) -> None:
    """Compares an ONNX file with the checksum at its end, where it has one; older files have none.

    Raises:
        KanjinetError: it was damaged, or changed by another program.
    """
    length = len(seal(b""))
    if CHECKSUM.encode() in content[-length:] and seal(content[:-length]) != content:
        raise KanjinetError(f"{path}: damaged or changed, its {CHECKSUM} is not that of its content", remedy)


def check_device(device: str) -> None:
    """Refuses a device on which onnxruntime cannot run anything here.

    Raises:
        KanjinetError: so it is, or onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise KanjinetError("the package onnxruntime is missing", "python -m pip install onnxruntime") from error
    if device == "mps":
        raise KanjinetError("device mps: ONNX files run on cpu or cuda", "choose one of these with --device")
    if device == "cuda" and _CUDA not in onnxruntime.get_available_providers():
        raise _refuse_cuda(onnxruntime.__version__)


def _refuse_cuda(version: str) -> KanjinetError:
    return KanjinetError(
        f"device cuda: onnxruntime {version} cannot use it here",
        "python -m pip install onnxruntime-gpu in place of onnxruntime, or choose --device cpu",
    )


def open_session(content: bytes, *, device: str = "cpu", threads: int = 0) -> Any:
    """Opens an onnxruntime session, whose threads sleep while they wait, so that a busy machine stays usable.

    Args:
        content: an ONNX file's bytes.
        device: one of DEVICES; auto is cuda where onnxruntime offers it.
        threads: to compute with on the CPU; 0 for one a core.

    Returns:
        An onnxruntime.InferenceSession.

    Raises:
        KanjinetError: onnxruntime is missing, or does not run on this device.
        Exception: onnxruntime's own, where it does not take the file.
    """
    check_device(device)
    import onnxruntime

    offers_cuda = _CUDA in onnxruntime.get_available_providers()
    uses_cuda = device == "cuda" or (device == "auto" and offers_cuda)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never ORT's own, which is not checked
    if uses_cuda and offers_cuda:
        onnxruntime.preload_dlls()  # CUDA's libraries from where pip installed PyTorch's
        session = onnxruntime.InferenceSession(content, options, providers=[_CUDA, _CPU])
    else:
        session = onnxruntime.InferenceSession(content, options, providers=[_CPU])
    if device == "cuda" and _CUDA not in session.get_providers():  # onnxruntime goes on without a provider that fails
        raise _refuse_cuda(onnxruntime.__version__)
    return session
