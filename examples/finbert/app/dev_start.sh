#!/usr/bin/env bash
# Starts the server with the smallest model of the example, and the proxy.
exec "$(dirname "$0")/start.sh" simple_net
