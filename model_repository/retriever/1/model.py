"""Serves ``trident.retrieval.retriever``: embeddings of all requests of a batch are searched together."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.errors import TridentError
from trident.generation.golden import GOLDEN_REQUEST
from trident.retrieval.opened import open_retriever
from trident.retrieval.requests import read_knobs
from trident.retrieval.tensors import EMBEDDING, GENERATION
from trident.search.adapters import id_of, knob_tensors, retrieve_timed, tensor
from trident.search.model_parameters import start_model
from trident.watch.failures import FailureWatch
from trident.watch.watching import QueryWatch, SearchWatch


class TritonPythonModel:
    """The one instance of the retriever."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = start_model(args)
        self.threads = int(parameters["threads"])
        self.retriever = open_retriever(folder, flat_threads=self.threads)
        self.watch = SearchWatch(self.retriever, pb_utils.MetricFamily, folder.parent)
        self.query_watch = QueryWatch(self.retriever.identity, pb_utils.MetricFamily)
        self.failure_watch = FailureWatch(self.retriever.identity, pb_utils)

    def finalize(self):
        for each in (self.watch, self.query_watch, self.failure_watch):
            each.close()

    def execute(self, requests):
        answers, embeddings, knobs, live = [], [], [], []
        for request in requests:
            embedding, is_live = tensor(request, pb_utils, EMBEDDING), True  # (B, D)
            try:
                is_live = id_of(request) != GOLDEN_REQUEST
                wanted = read_knobs(knob_tensors(request, pb_utils), len(embedding), self.retriever.attributes)
                self.retriever.check(embedding, wanted)
            except TridentError as error:
                answers.append(self.failure_watch.refusal(error, is_live=is_live))
                continue
            answers.append((len(knobs), len(knobs) + len(wanted), max(knob.k for knob in wanted)))
            embeddings, knobs, live = [*embeddings, embedding], knobs + wanted, live + [is_live] * len(wanted)
        if not knobs:
            return answers
        joined, golden = np.concatenate(embeddings), [not each for each in live]
        hits = retrieve_timed(self.retriever, joined, knobs, threads=self.threads, of_base=golden)
        self.watch.answered(joined, knobs, hits, live)
        return [
            self.response(request, hits.rows(*place)) if isinstance(place, tuple) else place
            for request, place in zip(requests, answers, strict=True)
        ]

    def response(self, request, hits):
        self.query_watch.shown(request.request_id(), hits)
        of = np.full(hits.counts.shape, self.retriever.identity.id.encode(), dtype=np.object_)
        tensors = {**hits.tensors(), GENERATION: of}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in tensors.items()])
