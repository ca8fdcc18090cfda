"""The bundled sample: a small labelled product search data set that Trident makes itself."""

from trident_train.data.sample.generate import generate, write_sample
from trident_train.data.sample.rows import Pair, Product, Sample, SamplePaths

__all__ = ["Pair", "Product", "Sample", "SamplePaths", "generate", "write_sample"]
