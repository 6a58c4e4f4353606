#!/usr/bin/env bash
# Starts batchmill with PostgreSQL and two workers on this machine, and says how to use it.
#   deploy/quickstart.sh [WORKERS]
# Safe to run again: secrets that are there are kept. Needs Docker with Compose 2.
set -euo pipefail
cd "$(dirname "$0")"

workers="${1:-2}"
[[ "$workers" =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 [WORKERS]   a number, 2 by default" >&2; exit 2; }
docker compose version >/dev/null 2>&1 || { echo "Docker with Compose 2 is needed: https://docs.docker.com/engine/install/" >&2; exit 3; }

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# The folder keeps other users of this machine out. The files in it must be readable for the user
# of the container, who is nobody here.
mkdir -p secrets
chmod 700 secrets
[ -s secrets/postgres_password ] || random 24 > secrets/postgres_password
[ -s secrets/admin_key ] || { printf bm_; random 32; } > secrets/admin_key
[ -s secrets/secret_keys ] || random 32 > secrets/secret_keys
printf 'postgresql+psycopg://batchmill:%s@postgres/batchmill' "$(cat secrets/postgres_password)" > secrets/database_url
chmod 644 secrets/*

docker compose up --detach --build --wait --scale "worker=$workers"

address="$(docker compose port server 3001)"
cat <<END

batchmill is up with $workers workers: http://$address
  export BATCHMILL_SERVER=http://$address
  export BATCHMILL_API_KEY="\$(cat $PWD/secrets/admin_key)"
  batchmill submit web photos/ -o small/          from any machine that reaches this one
  docker compose -f $PWD/compose.yaml logs -f worker
  docker compose -f $PWD/compose.yaml up -d --scale worker=5
  docker compose -f $PWD/compose.yaml down        stops it; files and database stay
END
