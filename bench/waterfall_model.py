"""The served pipeline with a stopwatch, and one that answers the same answer always; see ``bench/waterfall.py``.

Both stand in for ``pipeline/SERIAL/model.py`` of a runtime repository; ``waterfall.py`` writes the lines that call
``watched_model`` and ``empty_model`` there. Times are those of ``time.perf_counter_ns``, the clock of Triton's traces.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# What is timed by itself, innermost first: (row of the waterfall, module, class, methods).
TIMED = (
    ("tokenizer", "trident.encoder.tokenization", "TextTokenizer", ("token_ids_each",)),
    ("encoder", "trident.encoder.kernel_encoder", "KernelEncoder", ("embed_ids",)),
    ("encoder", "trident.encoder.encoder", "OnnxEncoder", ("embed_ids",)),
    ("words: spelling", "trident.retrieval.retriever", "Retriever", ("spelled",)),
    ("words: plan", "trident.retrieval.words", "Words", ("plan",)),
    ("words: legs and fusion", "trident.ranking.legs", "Ranker", ("ranked",)),
    ("search in the index", "trident.index.index", "VectorIndex", ("search", "search_each")),
    ("ids, titles, details", "trident.retrieval.retriever", "Retriever", ("retrieve",)),
    ("metrics", "trident.watch.watching", "SearchWatch", ("answered",)),
    ("metrics", "trident.watch.watching", "QueryWatch", ("asked",)),
    ("rules, other instances", "trident.retrieval.ruling", "ServedRules", ("refresh", "applied")),
)


class Stopwatch:
    """Nanoseconds of its own (without what it calls) of each part, of one call of ``execute``."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.own: dict[str, int] = {}
        self._inside: list[int] = []  # nanoseconds of what each function under way has called

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same, and is counted under a name."""

        def counted(*args: Any, **options: Any) -> Any:
            self._inside.append(0)
            started = time.perf_counter_ns()
            try:
                return call(*args, **options)
            finally:
                taken = time.perf_counter_ns() - started
                self.own[name] = self.own.get(name, 0) + taken - self._inside.pop()
                if self._inside:
                    self._inside[-1] += taken

        return counted


class Kept:
    """What the calls of one instance took, written when it is unloaded."""

    def __init__(self, times: Path, args: dict[str, str]) -> None:
        """Choose the file: that of all instances, and this one's name."""
        self.lines: list[str] = []
        self.file = times.with_name(f"{times.name}.{args['model_instance_name']}")

    def add(self, started: int, own: dict[str, int]) -> None:
        """Keep a call that ends now."""
        self.lines.append(json.dumps({"start": started, "end": time.perf_counter_ns(), "own": own}))

    def write(self) -> None:
        """Write the file."""
        self.file.write_text("\n".join(self.lines), encoding="utf-8")


def watched_model(model: Path, times: Path, answer: Path) -> type:
    """Return the model of a ``model.py`` with a stopwatch.

    Args:
        model: The file of the generation.
        times: Gets a line of JSON for each call of ``execute``, when the model is unloaded; a file an instance.
        answer: Gets the tensors of the first answer, for ``empty_model``.
    """
    watch = Stopwatch()
    for name, module, kind, methods in TIMED:
        importlib.import_module(module)
        owner = getattr(sys.modules[module], kind, None)
        for method in methods if owner is not None else ():
            if method in vars(owner):
                setattr(owner, method, watch.timed(name, getattr(owner, method)))
    spec = importlib.util.spec_from_file_location("served_pipeline", model)
    assert spec is not None
    assert spec.loader is not None
    served = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(served)

    class Watched(served.TritonPythonModel):  # type: ignore[misc, name-defined]
        """The same, timed."""

        def initialize(self, args: dict[str, str]) -> None:
            super().initialize(args)
            self.kept = Kept(times, args)
            self.read = watch.timed("reading requests", self.read)
            self.response = watch.timed("making responses", self.response)

        def execute(self, requests: Sequence[Any]) -> Any:
            watch.own = {}
            started = time.perf_counter_ns()
            responses = super().execute(requests)
            self.kept.add(started, watch.own)
            if not answer.exists():
                keep_answer(responses[0], answer)
            return responses

        def finalize(self) -> None:
            self.kept.write()
            super().finalize()

    return Watched


def keep_answer(response: Any, path: Path) -> None:
    """Write the tensors of a response of the Python backend, text as bytes of one width."""
    tensors = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
    plain = {name: value.astype("S") if value.dtype == object else value for name, value in tensors.items()}
    scratch = path.with_suffix(f".{os.getpid()}.npz")  # the other instance may keep one, too
    np.savez(scratch, **plain)
    scratch.rename(path)


def empty_model(answer: Path, times: Path) -> type:
    """Return a model that gives every request the answer of a file, and looks at nothing."""
    import triton_python_backend_utils as pb_utils  # complete when a model is initialized

    class Empty:
        """The same answer always."""

        def initialize(self, args: dict[str, str]) -> None:
            self.kept = Kept(times, args)
            with np.load(answer) as kept:
                arrays = {name: kept[name] for name in kept.files}
            self.tensors = [
                pb_utils.Tensor(name, array.astype(object) if array.dtype.kind == "S" else array)
                for name, array in arrays.items()
            ]

        def execute(self, requests: Sequence[Any]) -> Any:
            started = time.perf_counter_ns()
            responses = [pb_utils.InferenceResponse(self.tensors) for _ in requests]
            self.kept.add(started, {})
            return responses

        def finalize(self) -> None:
            self.kept.write()

    return Empty
