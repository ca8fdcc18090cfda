"""Serves ``trident.search.catalogue_service``: operations in; what became of them out, when they are durable.

``execute`` only queues: Triton hands the one instance nothing more until it returns, and a group is made of what waits.
"""

import numpy as np
import triton_python_backend_utils as pb_utils

from trident.errors import TridentError
from trident.search.adapters import parameters_of, tensor
from trident.search.catalogue_service import CatalogueService, status_of
from trident.search.model_parameters import start_model
from trident.watch.catalogue_metrics import CatalogueMetrics


class TritonPythonModel:
    """The one instance of the writer."""

    def initialize(self, args):
        start_model(args)
        self.service = CatalogueService.from_environment()
        self.metrics = CatalogueMetrics(self.service, pb_utils.MetricFamily)

    def finalize(self):
        self.service.close()
        self.metrics.close()

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            asked = [tensor(request, pb_utils, name) for name in ("action", "operations")]
            try:
                told = parameters_of(request)
            except TridentError as error:
                self.send(sender, error)
            else:
                self.service.take(*asked, told, lambda answer, sender=sender: self.send(sender, answer))

    def send(self, sender, answer):
        if isinstance(answer, TridentError):
            status, text = status_of(answer)
            error = pb_utils.TritonError(text, getattr(pb_utils.TritonError, status))
            response = pb_utils.InferenceResponse(error=error)
        else:
            response = pb_utils.InferenceResponse([pb_utils.Tensor("result", np.array([answer], dtype=np.object_))])
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
