"""What one instance of the served pipeline runs: its searcher, and another for whoever has the cores to himself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trident.generation.generation import Identity
from trident.retrieval.ruling import ServedRules
from trident.search.model_parameters import is_first_instance
from trident.search.other_instances import Gathering, OtherInstances
from trident.search.searcher import Searcher


class PipelineInstance:
    """The searchers of one instance; the others are processes of their own, and want the same cores.

    Args:
        args: What Triton gives to ``initialize``.
        parameters: ``threads`` of the encoder, ``index_threads`` of the search in the index, ``lone_threads`` of both
            and of the second stage for a request that is alone; the first instance has a searcher for it, since a lone
            client's go there;
            ``kernels``: whether they embed.
        identity: The generation to load.

    Raises:
        TridentError: If a part is missing, damaged or of another generation.
    """

    def __init__(self, args: Mapping[str, str], parameters: Mapping[str, str], identity: Identity) -> None:
        """Load the parts beside the model's folder."""
        model = Path(args["model_repository"])
        threads, self.index_threads = int(parameters["threads"]), int(parameters["index_threads"])
        os.environ["TOKENIZERS_PARALLELISM"] = str(threads > 1).lower()  # its threads would wake for every batch
        self.searcher = Searcher.load_parts(
            model.parent,
            identity,
            threads=threads,
            index_threads=self.index_threads,
            kernels=parameters.get("kernels", "auto"),  # older generations do not say
        )
        self._lone = self.searcher
        if is_first_instance(args):
            self._lone = self.searcher.for_lone(int(parameters["lone_threads"]))
        self.rules = ServedRules(self.searcher.retriever)
        self._others = OtherInstances(model / "config.pbtxt")
        self._gathering = Gathering()

    @contextmanager
    def answering(self, requests: int) -> Iterator[Searcher]:
        """Yield what a batch of so many requests is to be answered with, by the rules that hold now."""
        self.rules.refresh()
        with self._others.answering() as alone:
            yield self._lone if alone and requests == 1 else self.searcher
        if not alone:
            self._gathering.answered(requests)

    def close(self) -> None:
        """Leave the others, and end following."""
        self._others.close()
        self.searcher.retriever.close()
