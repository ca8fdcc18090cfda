#!/usr/bin/env bash
# By curl: examples/curl.sh GATEWAY TRITON, such as examples/curl.sh http://127.0.0.1:8080 http://127.0.0.1:8000
set -euo pipefail
gateway="${1:-http://127.0.0.1:8080}" triton="${2:-http://127.0.0.1:8000}"

echo "the gateway's search:"
curl -sS --fail-with-body "$gateway/search" -H 'content-type: application/json' \
    -d '{"query": "deep learning books", "k": 3}'
echo
echo "embeddings, as the openai SDK asks for them:"
curl -sS --fail-with-body "$gateway/v1/embeddings" -H 'content-type: application/json' \
    -d '{"model": "trident-query", "input": ["usb cable"]}' | cut -c 1-120
echo
echo "Triton itself:"
curl -sS --fail-with-body "$triton/v2/models/search/infer" -d '{
  "inputs": [{"name": "query", "shape": [1, 1], "datatype": "BYTES", "data": ["deep learning books"]}],
  "outputs": [{"name": "title"}, {"name": "count"}]
}'
echo
