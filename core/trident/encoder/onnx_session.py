"""Opens ONNX Runtime sessions: no threads that spin between runs, one provider, errors that say what was opened."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from trident.errors import ModelError, first_line

CPU = "CPUExecutionProvider"


def open_session(
    path: Path,
    *,
    what: str,
    providers: tuple[str, ...] = (CPU,),
    threads: int = 1,
    graph: bytes | None = None,
    spins: bool = False,
) -> ort.InferenceSession:
    """Return a session of a graph.

    Args:
        path: The graph.
        what: What errors call it, for example ``"encoder"``.
        providers: Execution providers, the first of which has to run the graph.
        threads: Of its operators.
        graph: Another form of what the file holds, to be run in its place.
        spins: Whether threads that wait for each other in the middle of a run keep their cores; after it they sleep.

    Raises:
        ModelError: If a provider is not available, or the file is no graph that ONNX Runtime loads.
    """
    available = ort.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing or not providers:
        raise ModelError(
            f"execution provider {', '.join(missing) or 'none'} must be one of those of this onnxruntime: "
            f"{', '.join(available)}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))  # others want the cores
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # an error is raised, and would be written to standard error as well
    try:
        file = str(path.resolve())  # a server's is a link, and weights outside of a graph lie beside the file itself
        session = ort.InferenceSession(graph or file, sess_options=options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{what} {path} is not an ONNX graph that ONNX Runtime loads: {first_line(error)}") from error
    if session.get_providers()[0] != providers[0]:  # ONNX Runtime falls back to the CPU with a log line only
        raise ModelError(f"{what} {path} must run on {providers[0]}, ONNX Runtime chose {session.get_providers()[0]}")
    return session
