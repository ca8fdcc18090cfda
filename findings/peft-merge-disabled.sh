#!/usr/bin/env bash
# PEFT: adapters that are disabled are merged all the same, so that "the pretrained model" has the trained one's weights.
#
# What surprises: inside `with model.disable_adapter():` the model answers as the pretrained one does, which is how both
# are compared without loading two. Whoever takes the weights there, for ONNX, for another engine, or for a faster copy
# to judge with, gets the trained ones: merge_and_unload(), merge_adapter() and what is saved after them look at the
# adapters that are active, not at whether they are switched off. No warning, and no figure looks wrong: the pretrained
# model merely ranks as well as the trained one. Remedy: unload() where get_model_status().enabled is False, or load the
# base model anew.
# Met in Trident, whose judging runs on a merged copy: `trident evaluate` gave both rows the same figures.
#
# Software: peft 0.21.2, transformers 5.24.0, torch 2.13.0, a CPU build.
# Seen, a random BERT of two layers with LoRA, largest differences of hidden states to the model without adapters: under
# disable_adapter() as it is 0, merged there 0.68 (as with the adapters enabled), unload()ed there 0.
# Source: PEFT's documentation says of disable_adapter that the adapter module is disabled when inference is run; that
# merging does not mind it measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    torch==2.13.0 peft==0.21.2 transformers==5.24.0 numpy==2.4.6 || exit 2

HF_HUB_OFFLINE=1 "$work/venv/bin/python" - <<'END'
import copy
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel

torch.manual_seed(0)
sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
ids = torch.tensor([[5, 9, 14, 3, 7]])


def hidden(model):
    with torch.no_grad():
        return model.eval()(input_ids=ids).last_hidden_state


base = BertModel(BertConfig(**sizes))
pretrained = hidden(base)
model = get_peft_model(base, LoraConfig(r=4, target_modules=["query", "value"]))
with torch.no_grad():
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.normal_()

far = {"adapters enabled": hidden(model)}
with model.disable_adapter():
    far["disabled"] = hidden(model)
    far["disabled, then merged"] = hidden(copy.deepcopy(model).merge_and_unload())
    far["disabled, then unloaded"] = hidden(copy.deepcopy(model).unload())
    said = model.get_model_status().enabled
far = {name: float((found - pretrained).abs().max()) for name, found in far.items()}
for name, value in far.items():
    print(f"{name}: differs from the pretrained model by {value:.3f}")
print(f"get_model_status().enabled there: {said}")

as_seen = (
    far["adapters enabled"] > 0.1
    and far["disabled"] < 1e-5
    and abs(far["disabled, then merged"] - far["adapters enabled"]) < 1e-3
    and far["disabled, then unloaded"] < 1e-5
    and said is False
)
print("as seen" if as_seen else "this has changed")
sys.exit(not as_seen)
END
