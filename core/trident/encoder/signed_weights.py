"""The 8-bit encoder on CPUs that multiply 8-bit numbers in one instruction (VNNI): the same sums, sooner.

VNNI multiplies unsigned by signed numbers and adds in 32 bits. Elsewhere such products are added in 16 bits, which
overflow; hence a generation holds unsigned weights, whose zero is 128 (``trident_export.graphs.int8``). Taking 128 from
weights and from their zeros changes no sum: embeddings are the same to the last bit.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from trident.encoder.graph_files import INT8_FILES
from trident.errors import MissingExtraError, ModelError

CPU_INFO = Path("/proc/cpuinfo")
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
ZERO = 128  # of unsigned weights


@cache
def has_vnni(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether this machine's processor has VNNI, as Linux on x86-64 tells."""
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not VNNI.isdisjoint(flags.split())


def runs_signed(path: Path) -> bool:
    """Return whether a graph's weights are made signed where it is loaded here."""
    return path.name in INT8_FILES and has_vnni()


def with_signed_weights(path: Path) -> bytes:
    """Return a graph file whose 8-bit weights, and their zeros, are signed; nothing else is changed.

    Args:
        path: An ``.onnx`` file; weights are its unsigned constants with a dimension (zeros of activations have none).

    Raises:
        ModelError: If it is no graph.
        MissingExtraError: If onnx is not installed.
    """
    try:
        import onnx  # here: other graphs are served without it
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("an 8-bit graph needs onnx here: run pip install 'trident-search[serve]'") from error
    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise ModelError(f"encoder {path} is not an ONNX graph: {error}") from error
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.UINT8 and tensor.dims:
            signed = (onnx.numpy_helper.to_array(tensor).astype(np.int16) - ZERO).astype(np.int8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(signed, tensor.name))
    content: bytes = model.SerializeToString()
    return content
