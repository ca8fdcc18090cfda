"""The stage that types the further columns of the catalogue and writes them."""

from __future__ import annotations

import logging

from trident.attributes.building import ARRAYS_FILE, write_attributes
from trident.attributes.inference import infer
from trident_export.job import ExportJob

logger = logging.getLogger(__name__)


def export_attributes(job: ExportJob) -> None:
    """Write the attributes of the products; what no type fits is left out with a line.

    Raises:
        DataError: If a column that was asked for is missing, or a value of it is of another type.
    """
    with job.stages.stage("attributes") as notes:
        inferred = infer(job.catalogue.attributes, job.config.attributes, job.order.catalogue)
        lines = write_attributes(job.parts, inferred, len(job.catalogue))
        for name, reason in inferred.left_out.items():
            logger.warning("%s: column '%s' is left out: %s", job.order.catalogue, name, reason)
        left_out = f"; left out: {', '.join(inferred.left_out)}" if inferred.left_out else ""
        notes.path = job.parts / ARRAYS_FILE
        notes.proof = (", ".join(map(str, lines)) or "none") + left_out
