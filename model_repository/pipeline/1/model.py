"""Serves ``trident.search.answering``: texts in; embeddings, products or both out.

The parts lie in the version folders of the tokenizer, the encoder and the retriever beside this one.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.errors import OverloadError, TridentError
from trident.generation.generation import Identity
from trident.retrieval.live_retriever import asks_base
from trident.retrieval.requests import read_asked, read_knobs, with_texts
from trident.retrieval.tensors import EMBEDDING, GENERATION, SIDE, TEXT
from trident.search.adapters import FOUND, id_of, knob_tensors, parameters_of, tensor
from trident.search.admission import Admission
from trident.search.answering import Answer, Asked, answer_each
from trident.search.deadline import check_deadline
from trident.search.model_parameters import start_model
from trident.search.pipeline_instance import PipelineInstance
from trident.watch.failures import FailureWatch
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
        self.failure_watch = FailureWatch(self.identity, pb_utils)
        retriever, second = self.instance.searcher.retriever, self.instance.searcher.second_stage
        self.search_watch = SearchWatch(retriever, pb_utils.MetricFamily, model, more=PIPELINE_METRICS, second=second)

    def finalize(self):
        for each in (self.instance, self.query_watch, self.failure_watch, self.search_watch):
            each.close()

    def execute(self, requests):
        with self.instance.answering(len(requests)) as searcher:
            return self.responses(requests, searcher)

    def responses(self, requests, searcher):
        asked = [self.read(request) for request in requests]  # or a refusal
        live = [row for row, each in enumerate(asked) if isinstance(each, Asked) and each.is_live]
        for row in live[self.admission.admits([len(asked[row].texts) for row in live]) :]:
            self.search_watch.rejected(len(asked[row].texts))
            self.watch_queries(requests[row], asked[row])
            asked[row] = self.failure_watch.refusal(OverloadError(self.admission.reason))
        good = [each for each in asked if isinstance(each, Asked)]
        answers = iter(answer_each(searcher, good, self.search_watch.answered, threads=self.instance.index_threads))
        responses = [
            self.response(request, each, next(answers)) if isinstance(each, Asked) else each
            for request, each in zip(requests, asked, strict=True)
        ]
        self.admission.ended()
        return responses

    def read(self, request):
        is_live = True
        try:
            is_live = not asks_base(id_of(request))
            check_deadline(parameters_of(request))
            raw, attributes = tensor(request, pb_utils, TEXT), self.instance.searcher.retriever.attributes
            knobs = read_knobs(knob_tensors(request, pb_utils), len(raw), attributes)
            texts = read_asked(raw, tensor(request, pb_utils, SIDE), knobs)
            knobs = with_texts(knobs, texts)
            self.instance.searcher.check(knobs)
            knobs = self.instance.rules.applied(knobs, texts) if is_live else knobs
        except TridentError as error:
            return self.failure_watch.refusal(error, is_live=is_live)
        searches = not FOUND.isdisjoint(request.requested_output_names())
        return Asked(texts, knobs, searches, is_live)

    def watch_queries(self, request, asked, hits=None):
        if asked.wants_products and asked.is_live:
            self.query_watch.asked([text for text, _ in asked.texts], request.request_id(), hits)

    def response(self, request, asked, answer):
        self.watch_queries(request, asked, answer.hits if isinstance(answer, Answer) else None)
        if not isinstance(answer, Answer):
            return self.failure_watch.refusal(answer, is_live=asked.is_live)
        id_of_all = np.full((len(answer.embeddings), 1), self.identity.id.encode(), dtype=np.object_)
        tensors = {GENERATION: id_of_all, EMBEDDING: answer.embeddings}
        if answer.hits is not None:
            tensors |= answer.hits.tensors()
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, tensors[name]) for name in tensors if name in wanted])
