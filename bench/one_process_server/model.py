"""Serves ``trident.searcher``, the whole pipeline, from one process; its knobs are the defaults."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.generation import Generation
from trident.model_parameters import start_model
from trident.requests import read_texts
from trident.searcher import Searcher
from trident.tensors import COUNT, GENERATION, K_DEFAULT, PRODUCT_ID, QUERY, SCORE, TITLE


class TritonPythonModel:
    """The one instance; its version folder holds a link ``generation``."""

    def initialize(self, args):
        parameters = start_model(args)
        folder = Path(args["model_repository"]) / args["model_version"] / "generation"
        generation = Generation.load(folder.resolve())
        self.threads = int(parameters["threads"])
        self.searcher = Searcher.load(generation, threads=self.threads)
        self.id = generation.id.encode()

    def execute(self, requests):
        texts = [read_texts(pb_utils.get_input_tensor_by_name(request, QUERY).as_numpy()) for request in requests]
        hits = self.searcher.search([text for each in texts for text in each], threads=self.threads)
        ends = np.cumsum([len(each) for each in texts]).tolist()
        return [
            self.response(hits.rows(start, end, K_DEFAULT)) for start, end in zip([0, *ends[:-1]], ends, strict=True)
        ]

    def response(self, hits):
        tensors = {PRODUCT_ID: hits.product_ids, SCORE: hits.scores, TITLE: hits.titles, COUNT: hits.counts}
        tensors[GENERATION] = np.full(hits.counts.shape, self.id, dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in tensors.items()])
