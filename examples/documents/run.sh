#!/usr/bin/env bash
# A PDF through a detector, a reader and a caption classifier, on a CPU, in a few minutes: pages, three models that are
# trained here, conversion, a server, a client, and a picture of what was found. README.md explains each step.
#
#   WORK_DIR         where everything is written (default: work beside this script, where .env looks for it)
#   PYTHON           the interpreter that has Slipway (default: python3)
#   HTTP_PORT        port of the server; GRPC_PORT and METRICS_PORT follow it (default: 8000)
#   DETECTOR_STEPS   updates of the detector (default: 500); CAPTION_STEPS (60) and READER_STEPS (600): of the others
set -euo pipefail
EXAMPLE=$(cd "$(dirname "$0")" && pwd)
WORK_DIR=${WORK_DIR:-$EXAMPLE/work}
PYTHON=${PYTHON:-python3}
HTTP_PORT=${HTTP_PORT:-8000}
GRPC_PORT=${GRPC_PORT:-$((HTTP_PORT + 1))}
METRICS_PORT=${METRICS_PORT:-$((HTTP_PORT + 2))}
DETECTOR_STEPS=${DETECTOR_STEPS:-500}
CAPTION_STEPS=${CAPTION_STEPS:-60}
READER_STEPS=${READER_STEPS:-600}
# Waiting threads sleep instead of spinning, which would take the cores from whatever else runs.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
step() { printf '\n== %s\n' "$1"; }
slipway() { "${PYTHON}" -m slipway "$@"; }

MODELS=${WORK_DIR}/models
CHECKPOINTS=${WORK_DIR}/checkpoints
REPORT=${WORK_DIR}/report.pdf
mkdir -p "${MODELS}" "${CHECKPOINTS}"

step "Make the report: a PDF of two pages"
"${PYTHON}" "${EXAMPLE}/make_report.py" "${REPORT}"

step "Train the detector, and convert it: yolox, and yolox-pages from a page to rows per label"
"${PYTHON}" "${EXAMPLE}/train_detector.py" "${CHECKPOINTS}/yolox.onnx" --steps "${DETECTOR_STEPS}"
slipway convert "${CHECKPOINTS}/yolox.onnx" --task page-elements --name yolox --repository "${MODELS}" --overwrite

step "Train the caption classifier, and convert it with the guide's command"
"${PYTHON}" "${EXAMPLE}/train_captions.py" "${CHECKPOINTS}/captions" --steps "${CAPTION_STEPS}"
slipway convert-module \
  --ckpt-path "${CHECKPOINTS}/captions/model.pt" \
  --dynamic-batching \
  --engine-path "${CHECKPOINTS}/captions/model.plan" \
  --generate-onnx \
  --generate-triton-config \
  --input-size 8 128 \
  --max-batch-size 128 \
  --model-class-name "CaptionClassifier" \
  --model-io-config '{"inputs":[{"name":"input_ids","dtype":"int64","shape":[128]},{"name":"input_mask","dtype":"float32","shape":[128]},{"name":"input_token_type_ids","dtype":"float32","shape":[128]}],"outputs":[{"name":"output","dtype":"float32","shape":[1]}]}' \
  --model-name "deberta_large" \
  --model-script-path "${EXAMPLE}/caption_model.py" \
  --onnx-path "${CHECKPOINTS}/captions/model.onnx" \
  --overwrite \
  --serve-name "deberta_large" \
  --triton-inputs "input_ids,input_mask" \
  --triton-repo "${MODELS}"

step "Train the reader on the two pages, and build eclair with the settings of .env"
"${PYTHON}" "${EXAMPLE}/train_reader.py" "${CHECKPOINTS}/reader" --report "${REPORT}" --steps "${READER_STEPS}"
set -a
. "${EXAMPLE}/.env"
set +a
ECLAIR_CHECKPOINT_DIR="${CHECKPOINTS}" ECLAIR_MODEL_DIR="${MODELS}" slipway build-eclair --overwrite

step "Serve the models, and read the report"
"${PYTHON}" -m slipway serve "${MODELS}" \
  --http-port="${HTTP_PORT}" --grpc-port="${GRPC_PORT}" --metrics-port="${METRICS_PORT}" > "${WORK_DIR}/server.log" 2>&1 &
SERVER=$!
trap 'kill ${SERVER} 2> /dev/null || true' EXIT
for _ in $(seq 240); do
  if "${PYTHON}" -c "import urllib.request as r; r.urlopen('http://127.0.0.1:${HTTP_PORT}/v2/health/ready')" 2> /dev/null
  then break; fi
  if ! kill -0 ${SERVER} 2> /dev/null; then cat "${WORK_DIR}/server.log"; exit 1; fi
  sleep 0.5
done
"${PYTHON}" "${EXAMPLE}/read_pdf.py" "${REPORT}" "${WORK_DIR}/found" \
  --url "127.0.0.1:${GRPC_PORT}" --tokenizer "${CHECKPOINTS}/captions/tokenizer.json"

step "Shut the server down, and judge what was found"
kill ${SERVER}
wait ${SERVER}
trap - EXIT
"${PYTHON}" "${EXAMPLE}/judge.py" "${WORK_DIR}/report.json" "${WORK_DIR}/found/pages.json"
echo "pictures: ${WORK_DIR}/found/page-1.png, page-2.png"
