#!/usr/bin/env bash
# Starts, scales, shows and stops the workers of this host.
#   deploy/manage-workers.sh start [N] | scale-up N | logs [WORKER…] | stats | stop [WORKER…]
# Settings come from the environment, as for `batchmill workers`, which does all of it.
set -euo pipefail

command="${1:-}"
shift || true
case "$command" in
  start) exec batchmill workers scale "${1:-2}" ;;
  scale-up) exec batchmill workers scale "${1:?to how many workers? $0 scale-up N}" ;;
  logs) exec batchmill workers logs "$@" ;;
  stats) exec batchmill workers stats "$@" ;;
  stop) exec batchmill workers drain "$@" ;;
  *) echo "usage: $0 start [N] | scale-up N | logs [WORKER…] | stats | stop [WORKER…]" >&2; exit 2 ;;
esac
