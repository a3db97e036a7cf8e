#!/usr/bin/env bash
# The tensor2tensor tutorial from top to bottom, on a CPU, in a few minutes: data, training, export, compilation, a
# server, a file of lines through it. README.md explains each step.
#
#   TRITON_DATA_DIR   where everything is written (default: ./work)
#   PYTHON            the interpreter that has Slipway (default: python3)
#   HTTP_PORT         port of the server; GRPC_PORT and METRICS_PORT follow it (default: 8000)
#   TRAIN_STEPS       updates of the training (default: 1000)
set -euo pipefail
EXAMPLE=$(cd "$(dirname "$0")" && pwd)
TRITON_DATA_DIR=${TRITON_DATA_DIR:-$PWD/work}
PYTHON=${PYTHON:-python3}
HTTP_PORT=${HTTP_PORT:-8000}
GRPC_PORT=${GRPC_PORT:-$((HTTP_PORT + 1))}
METRICS_PORT=${METRICS_PORT:-$((HTTP_PORT + 2))}
TRAIN_STEPS=${TRAIN_STEPS:-1000}
# Waiting threads sleep instead of spinning: beside other work, spinning made the training five times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
step() { printf '\n== %s\n' "$1"; }

step "Install the commands under their own names"
mkdir -p "${TRITON_DATA_DIR}"
"${PYTHON}" -m slipway install-aliases "${TRITON_DATA_DIR}/bin"
export PATH=${TRITON_DATA_DIR}/bin:${PATH}
t2t-trainer --version
tritonc --version

MODEL=transformer
HPARAMS=transformer_tiny
PROBLEM=translate_written_out
DATA_DIR=${TRITON_DATA_DIR}/t2t_data/${PROBLEM}
CORPUS=${TRITON_DATA_DIR}/corpus
MODEL_DIR=${TRITON_DATA_DIR}/triton_model_dir
INFER_MODEL=${TRITON_DATA_DIR}/triton_infer_model

step "Make the corpus, then the vocabulary and the training data"
"${PYTHON}" "${EXAMPLE}/make_corpus.py" "${CORPUS}"
cp "${EXAMPLE}/problems.toml" "${CORPUS}"
t2t-datagen \
  --t2t_usr_dir="${CORPUS}" \
  --problem=${PROBLEM} \
  --data_dir="${DATA_DIR}" \
  --tmp_dir="${TRITON_DATA_DIR}/tmp"
ls "${DATA_DIR}"

step "Train the model"
t2t-trainer \
  --t2t_usr_dir="${CORPUS}" \
  --data_dir="${DATA_DIR}" \
  --problem=${PROBLEM} \
  --model=${MODEL} \
  --hparams_set=${HPARAMS} \
  --hparams="$(tr -d ' \n' < "${EXAMPLE}/hparams.txt")" \
  --output_dir="${MODEL_DIR}" \
  --local_eval_frequency=$((TRAIN_STEPS / 4)) \
  --train_steps="${TRAIN_STEPS}"
"${PYTHON}" "${EXAMPLE}/plot_loss.py" "${MODEL_DIR}" "${TRITON_DATA_DIR}/loss.svg"

step "Export the model for inference"
t2t-exporter \
  --t2t_usr_dir="${CORPUS}" \
  --model=${MODEL} \
  --hparams_set=${HPARAMS} \
  --problem=${PROBLEM} \
  --data_dir="${DATA_DIR}" \
  --output_dir="${MODEL_DIR}" \
  --export_dir="${INFER_MODEL}"

step "Compile the model for the server; the node names are the tutorial's own invention, and are warned about"
tritonc --inference_input_dtype=FP32 \
  --inference_output_dtype=FP32 \
  --first_batch_timeout=60000 \
  --model_name='transformer' \
  --model_version=1 \
  --input_node_name='EnDeTransformer/transformer/encoder/transformer_encoder/while/body/_1/while/body/_0/while/body/ParallelMapDataset/tmp_batch-1' \
  --input_node_shape=1:1:32768:1 \
  --output_node_name='EnDeTransformer/transformer/decoder/transformer_decoder/while/body/while/body/_0/while/body/ParallelMapDataset/tmp_batch-1' \
  --output_node_shape=1:1:32768:1 \
  --output_layer_names='EnDeTransformer/transformer/decoder/transformer_decoder/while/body/while/body/_0/while/body/ParallelMapDataset/tmp_batch-1' \
  --savedmodel_directory="${INFER_MODEL}/export/Servo/1"

step "Serve it, and translate a file of lines that the training has not seen"
TRITON_INPUT_FILE=${TRITON_DATA_DIR}/triton_infer_input.txt
TRITON_OUTPUT_FILE=${TRITON_DATA_DIR}/triton_infer_output.txt
cp "${CORPUS}/held_out.en" "${TRITON_INPUT_FILE}"
tritonserver --model-repository="${INFER_MODEL}/export/Servo/1" \
  --http-port="${HTTP_PORT}" --grpc-port="${GRPC_PORT}" --metrics-port="${METRICS_PORT}" &
SERVER=$!
trap 'kill ${SERVER} 2> /dev/null || true' EXIT
triton_client \
  --server="localhost:${HTTP_PORT}" \
  --model-name=transformer \
  --model-version=1 \
  --input_file="${TRITON_INPUT_FILE}" \
  --output_file="${TRITON_OUTPUT_FILE}"
head -n 20 "${TRITON_OUTPUT_FILE}"

step "Shut the server down, and judge the output"
kill ${SERVER}
wait ${SERVER}
trap - EXIT
ls -l "${TRITON_OUTPUT_FILE}"
t2t-bleu --translation="${TRITON_OUTPUT_FILE}" --reference="${CORPUS}/held_out.de"
"${PYTHON}" "${EXAMPLE}/exact_match.py" "${TRITON_OUTPUT_FILE}" "${CORPUS}/held_out.de" --at_least 0.98
echo "loss curve: ${TRITON_DATA_DIR}/loss.svg"
