#!/usr/bin/env bash
# Starts the server with some models of a repository, and the proxy once it is ready; ends both on SIGTERM or Ctrl-C.
#
#   start.sh [MODEL ...]     default: the three models of FinBERT
#
# MODELS    the model repository (default: ../models)       ADDRESS    where both listen
# HTTP_PORT, GRPC_PORT, METRICS_PORT, PROXY_PORT            WORKERS    processes of the proxy
set -euo pipefail

models=$(realpath "${MODELS:-$(dirname "$0")/../models}")
address=${ADDRESS:-127.0.0.1}
reached=${address/#0.0.0.0/127.0.0.1}
http_port=${HTTP_PORT:-8000}
grpc_port=${GRPC_PORT:-8001}
[ $# -gt 0 ] || set -- finbert-model finbert-tokenizer finbert
cd "$(dirname "$0")"

slipway tritonserver \
    --model-control-mode=explicit \
    "${@/#/--load-model=}" \
    --model-repository="$models" \
    --http-address="$address" --grpc-address="$address" \
    --http-port="$http_port" \
    --grpc-port="$grpc_port" \
    --metrics-port="${METRICS_PORT:-8002}" &
server=$!
proxy=
stop() {
    trap - TERM INT
    echo "Stopping the proxy and the server ..."
    # The proxy first: what it accepted, it still has to send to the server.
    [ -z "$proxy" ] || { kill "$proxy" 2>/dev/null || true; wait "$proxy" || true; }
    kill "$server" 2>/dev/null || true
    wait "$server"
    exit
}
trap stop TERM INT

until curl -sf -o /dev/null "http://$reached:$http_port/v2/health/ready"; do
    kill -0 "$server" || { echo "The server did not start." >&2; exit 1; }
    sleep 1 & wait $!  # a signal ends the wait, not the sleep
done
echo "The server is ready."

export SLIPWAY_PROXY_OPTIONS="--server=$reached:$grpc_port --address=$address"
uvicorn main:app --host "$address" --port "${PROXY_PORT:-8005}" --workers "${WORKERS:-2}" \
    --log-config log_config_uvicorn.yml &
proxy=$!
wait -n "$server" "$proxy" || true
stop
