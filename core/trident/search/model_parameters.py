"""The parameters in a served model's configuration."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping

NICENESS = "niceness"  # 0 to 19: how far the model's process makes way for others that want the cores


def is_first_instance(args: Mapping[str, str]) -> bool:
    """Return whether a model's instance is its first: Triton numbers groups, and instances within a group.

    Args:
        args: What Triton gives to ``initialize``.
    """
    return args["model_instance_name"].endswith("_0_0")


def start_model(args: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a model that starts; its process takes the niceness that stands among them.

    What our modules log from here on, in every detail, is in the server's log.

    Args:
        args: What Triton gives to ``initialize``; ``model_config`` is the configuration as JSON.
    """
    logging.basicConfig(format=f"{args['model_instance_name']}: %(message)s")
    logging.getLogger("trident").setLevel(logging.DEBUG)
    table = json.loads(args["model_config"])["parameters"]
    parameters = {name: str(value["string_value"]) for name, value in table.items()}
    if NICENESS in parameters:
        os.nice(int(parameters[NICENESS]))
    return parameters
