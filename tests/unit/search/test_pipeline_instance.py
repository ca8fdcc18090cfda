"""Which searcher an instance of the pipeline answers with: two instances of a repository, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from trident.generation.generation import find_generation
from trident.server.runtime_repository import lay_out

PROGRAM = """
import json, os, sys
from contextlib import closing
from pathlib import Path
from trident.generation.generation import Identity
from trident.search.pipeline_instance import PipelineInstance

model, threads = Path(sys.argv[1]), sys.argv[2]
identity = Identity.load(model / sys.argv[3])
parameters = {"threads": threads, "index_threads": "1", "lone_threads": "2"}

def instance(number):
    name = f"pipeline_{number}_0"
    return PipelineInstance({"model_repository": str(model), "model_instance_name": name}, parameters, identity)

def on_lone_threads(asked, requests):
    with asked.answering(requests) as searcher:
        return searcher is not asked.searcher

with closing(instance(0)) as first, closing(instance(1)) as second:
    found = {"one": on_lone_threads(first, 1), "two": on_lone_threads(first, 2), "second": on_lone_threads(second, 1)}
    with second.answering(1):
        found["beside the second"] = on_lone_threads(first, 1)
    with first.answering(1) as searcher:
        hits = searcher.search(["navy sofa"])
    found["finds"] = int(hits.counts[0, 0])
    found["tokenizers"] = os.environ["TOKENIZERS_PARALLELISM"]
print(json.dumps(found))
"""


def found(models: Path, serial: int, *, threads: int) -> dict[str, object]:
    command = [sys.executable, "-c", PROGRAM, str(models / "pipeline"), str(threads), str(serial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_one_request_to_the_first_instance_has_the_cores_to_itself_while_the_other_is_quiet(
    tiny_generations: Path, tmp_path: Path
) -> None:
    generation = find_generation(tiny_generations)
    models = tmp_path / "serving" / "models"
    lay_out(models, generation, cache=False, plan=None)
    assert found(models, generation.serial, threads=1) == {
        "one": True,
        "two": False,
        "second": False,
        "beside the second": False,
        "finds": 10,
        "tokenizers": "false",
    }
    assert found(models, generation.serial, threads=2)["tokenizers"] == "true"
