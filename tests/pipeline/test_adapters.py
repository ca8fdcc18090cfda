"""Adapters that are not the run's: cut off, not there, or of other layers; evaluation and export refuse each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from trident.errors import ModelError
from trident_export.merge.merge import merge
from trident_train.report.judge import Request, judge, prepare
from trident_train.report.run_folder import load_run

WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_an_adapter_that_was_cut_off_is_named(run: Path, tmp_path: Path) -> None:
    whole = (run / WEIGHTS).read_bytes()
    (run / WEIGHTS).write_bytes(whole[:-100])
    words = rf"weights .*adapter_model\.safetensors are damaged: it must have {len(whole):,} bytes, got"
    with pytest.raises(ModelError, match=words):
        load_run(run)
    (tmp_path / "merged").mkdir()
    with pytest.raises(ModelError, match=words):
        merge(run, tmp_path / "merged")


def test_an_adapter_that_is_a_pointer_or_missing_is_named(run: Path) -> None:
    (run / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is a pointer of Git LFS"):
        load_run(run)
    (run / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"weights .*adapter_model\.safetensors are missing"):
        load_run(run)


def test_an_adapter_of_other_layers_is_refused(run: Path) -> None:
    weights = {name.replace("layer.1", "layer.7"): value for name, value in load_file(run / WEIGHTS).items()}
    save_file(weights, run / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the adapter of .*run does not fit .*: Found missing adapter keys"):
        load_run(run)


def test_evaluate_tells_what_the_folder_says(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')

    def judged(*text: str) -> tuple[float, list[str]]:
        prepared = prepare(Request(model=str(model), pairs=tiny_data / "pairs.csv", text=text))
        rows, notes = judge(prepared, progress=lambda _: None)
        return rows[2].judged.roc_auc.value, notes

    said, notes = judged()
    assert notes == ["the model folder says, and it was taken: pooling 'cls' (1_Pooling/config.json)"]
    assert judged("pooling=cls") == (said, [])
    assert judged("pooling=mean")[0] != said
