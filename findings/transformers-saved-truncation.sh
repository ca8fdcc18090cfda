#!/usr/bin/env bash
# transformers: how a tokenizer was last called goes into the tokenizer.json it saves, and cuts texts there for good.
#
# What surprises: truncation=True, max_length=4 looks like an option of one call. It changes the tokenizer itself, and
# save_pretrained writes it down. Whoever loads that tokenizer.json with the tokenizers library, as a service without
# transformers does, gets four tokens of each text, and, after a call with padding="max_length", short texts padded to
# that length: no error, no warning, just worse answers. It depends on the very last call before saving: one plain call,
# and the file is clean again. transformers does not show it: loaded from the same folder it cuts nothing, so that a
# test on the training side passes. Remedy: no_truncation() and no_padding() after loading, or before saving.
#
# Software: transformers 5.24.0, tokenizers 0.23.3.
# Seen, a title of 8 words, tokens by the tokenizers library from the saved file: saved fresh 8; after a call with
# max_length=4 4; after one padded to max_length=6 6, and 6 for a title of one word; after a plain call 8. By
# transformers from the same folders 8 each time.
# Source: huggingface/transformers issue 24441 (a call changes the object); what is read from the saved file measured,
# 2026-11-29.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    transformers==5.24.0 tokenizers==0.23.3 numpy==2.4.6 || exit 2

HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$work/venv/bin/python" - "$work/saved" <<'END'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

TITLE = "warm wool socks for men in dark green"
words = ["[PAD]", "[UNK]", *TITLE.split()]
made = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=512)


def saved(name):
    """Return how many tokens the title has in the saved file, one word there, and the title in transformers."""
    folder = f"{sys.argv[1]}-{name}"
    tokenizer.save_pretrained(folder)
    file = Tokenizer.from_file(f"{folder}/tokenizer.json")
    whole = AutoTokenizer.from_pretrained(folder)(TITLE)["input_ids"]
    return len(file.encode(TITLE).ids), len(file.encode("socks").ids), len(whole)


found = {"fresh": saved("fresh")}
tokenizer([TITLE], truncation=True, max_length=4)
found["after truncation=True, max_length=4"] = saved("cut")
tokenizer([TITLE], truncation=True, padding="max_length", max_length=6)
found['after padding="max_length", max_length=6'] = saved("padded")
tokenizer([TITLE])
found["after a plain call"] = saved("plain")

print("tokens of a title of 8 words and of a title of one, from tokenizer.json; of the first by transformers")
for name, (title, word, whole) in found.items():
    print(f"  saved {name}: {title} and {word}; {whole}")

as_seen = list(found.values()) == [(8, 1, 8), (4, 1, 8), (6, 6, 8), (8, 1, 8)]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
