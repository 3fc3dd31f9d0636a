#!/bin/sh
# Variants of RED (positions, parts, layers) trained on the same data from the bundled base or another:
# validation loss and speed of each, as a Markdown table. One job after the other, on all cores.
#   TRAIN=train.jsonl VALID=valid.jsonl [BASE=DIRECTORY] [EPOCHS=3] [LR=0.03] [BATCH=16] [UPPER=4-7] \
#     sh tests/bench/variants.sh
set -eu
OUT=${OUT:-build/release}
: "${TRAIN:?say TRAIN=FILE.jsonl}" "${VALID:?say VALID=FILE.jsonl}"
dir=$(mktemp -d)
"$OUT/redd" --config /dev/null --no-auth --state "$dir/state" ${BASE:+--model "$BASE"} --listen 127.0.0.1:0 \
	--port-file "$dir/port" 2>"$dir/log" &
pid=$!
trap 'kill $pid; wait $pid || true; rm -rf "$dir"' EXIT
# The log says when it is ready.
tail -n +1 -f --pid=$pid "$dir/log" | sed -n '/event=ready/q'
REDD_URL=http://$(sed 's/^\([0-9]*\)$/127.0.0.1:\1/' "$dir/port")
export REDD_URL

last() { # the last value of a field in a JSON document
	sed -n 's/.*"'"$1"'": *\([-0-9.eE+]*\).*/\1/p' | tail -n 1
}

row() { # a name, and options of redctl submit
	name=$1
	shift
	job=$("$OUT/redctl" --quiet submit "$TRAIN" --validation "$VALID" --epochs "${EPOCHS:-3}" --lr "${LR:-0.03}" \
		--batch-size "${BATCH:-16}" --max-grad-norm 0 --seed 0 --keep last "$@")
	model=$("$OUT/redctl" --quiet wait "$job")
	bytes=$(curl -s "$REDD_URL/v1/models/$model" | last bytes)
	loss=$(curl -s "$REDD_URL/v1/fine_tuning/jobs/$job/checkpoints?limit=1" | last valid_loss)
	speed=$(curl -s "$REDD_URL/v1/fine_tuning/jobs/$job" | last tokens_per_second)
	printf '| %s | %s | %.3f | %.0f |\n' "$name" "$bytes" "$loss" "$speed"
}

echo "| variant | adapter bytes | validation loss | tokens/s |"
echo "| --- | --- | --- | --- |"
row "ffn, scale and bias (RED)"
row "ffn, scale" --parts scale
row "ffn, bias" --parts bias
row "ffn, upper half of the layers" --layers "${UPPER:-4-7}"
row "attn" --positions attn
row "qkv" --positions qkv
row "ffn, attn, qkv (RED++)" --positions ffn,attn,qkv
