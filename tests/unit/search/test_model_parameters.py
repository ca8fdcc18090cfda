"""What a served model reads of its configuration when it starts."""

from __future__ import annotations

import subprocess
import sys

from trident.search.model_parameters import is_first_instance

PROGRAM = """
import json, os
from trident.search.model_parameters import start_model
before = os.nice(0)
config = {"parameters": {"threads": {"string_value": "2"}, **%s}}
parameters = start_model({"model_config": json.dumps(config), "model_instance_name": "encoder_0_0"})
print(parameters["threads"], os.nice(0) - before)
"""


def started(niceness: str) -> str:
    # a process of its own: nobody may take a niceness back
    return subprocess.run([sys.executable, "-c", PROGRAM % niceness], capture_output=True, text=True, check=True).stdout


def test_a_model_takes_the_niceness_of_its_configuration() -> None:
    assert started('{"niceness": {"string_value": "3"}}') == "2 3\n"


def test_a_model_without_one_stays_as_it_is() -> None:
    assert started("{}") == "2 0\n"


def test_the_first_instance_of_the_first_group_is_the_first() -> None:
    names = ["pipeline_0_0", "pipeline_0_1", "pipeline_1_0", "pipeline_10_0"]
    assert [is_first_instance({"model_instance_name": name}) for name in names] == [True, False, False, False]
