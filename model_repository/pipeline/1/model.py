"""Serves ``trident.search.answering``: texts in; embeddings, products or both out.

The parts lie in the version folders of the tokenizer, the encoder and the retriever beside this one.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.errors import TridentError
from trident.generation.generation import Identity
from trident.generation.golden import GOLDEN_REQUEST
from trident.search.admission import Admission
from trident.search.answering import Asked, answer_together
from trident.search.model_parameters import start_model
from trident.search.pipeline_instance import PipelineInstance
from trident.search.requests import read_asked, read_knobs
from trident.search.tensors import EMBEDDING, FOUND, GENERATION, SIDE, TEXT
from trident.watch.serving_metrics import PIPELINE_METRICS
from trident.watch.watching import QueryWatch, SearchWatch


class TritonPythonModel:
    """One instance of the pipeline."""

    def initialize(self, args):
        model, version = Path(args["model_repository"]), args["model_version"]
        parameters = start_model(args)
        self.identity = Identity.load(model / version)
        self.instance = PipelineInstance(args, parameters, self.identity)
        self.admission = Admission.of_model(args, max_wait_ms=int(parameters["max_wait_ms"]))
        self.query_watch = QueryWatch(self.identity, pb_utils.MetricFamily)
        retriever = self.instance.searcher.retriever
        self.search_watch = SearchWatch(retriever, pb_utils.MetricFamily, model, more=PIPELINE_METRICS)

    def finalize(self):
        for each in (self.instance, self.query_watch, self.search_watch):
            each.close()

    def execute(self, requests):
        with self.instance.answering(len(requests)) as searcher:
            return self.responses(requests, searcher)

    def responses(self, requests, searcher):
        asked = [self.read(request) for request in requests]  # or a refusal
        live = [row for row, each in enumerate(asked) if isinstance(each, Asked) and each.is_live]
        for row in live[self.admission.admits([len(asked[row].texts) for row in live]) :]:
            asked[row] = self.rejection(asked[row])
        good = [each for each in asked if isinstance(each, Asked)]
        answers = iter(answer_together(searcher, good, self.search_watch.answered, threads=self.instance.index_threads))
        responses = [
            self.response(request, next(answers)) if isinstance(each, Asked) else each
            for request, each in zip(requests, asked, strict=True)
        ]
        self.admission.ended()
        return responses

    def read(self, request):
        try:
            texts = read_asked(self.tensor(request, TEXT), self.tensor(request, SIDE))
            knobs = read_knobs(lambda name: self.tensor(request, name), len(texts))
        except TridentError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG))
        searches = not set(FOUND).isdisjoint(request.requested_output_names())
        is_live = request.request_id() != GOLDEN_REQUEST
        if searches and is_live:
            self.query_watch.asked([text for text, _ in texts])
        return Asked(texts, knobs, searches, is_live)

    def rejection(self, asked):
        self.search_watch.rejected(len(asked.texts))
        error = pb_utils.TritonError(self.admission.reason, pb_utils.TritonError.UNAVAILABLE)
        return pb_utils.InferenceResponse(error=error)

    def response(self, request, answer):
        id_of_all = np.full((len(answer.embeddings), 1), self.identity.id.encode(), dtype=np.object_)
        tensors = {GENERATION: id_of_all, EMBEDDING: answer.embeddings}
        if answer.hits is not None:
            tensors |= answer.hits.tensors()
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensors[name]) for name in tensors if name in wanted])

    @staticmethod
    def tensor(request, name):
        found = pb_utils.get_input_tensor_by_name(request, name)
        return None if found is None else found.as_numpy()
