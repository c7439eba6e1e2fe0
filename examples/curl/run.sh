#!/bin/sh
# Enqueue a job, wait for it, print its result: needs curl and jq. KNOUDS_API_TOKEN where the API has tokens.
set -eu
api=${KNOUDS_API_URL:-http://127.0.0.1:8080}
id=${1:-cat-$(date +%s)} # your own id makes the call safe to repeat: it is one job, however often it arrives

call() {
    if [ -n "${KNOUDS_API_TOKEN:-}" ]; then # in no command line, which every user of the machine can read
        printf 'header = "Authorization: Bearer %s"\n' "$KNOUDS_API_TOKEN" | curl -sS --config - "$@"
    else
        curl -sS "$@"
    fi
}

call --fail-with-body --retry 5 "$api/v1/jobs" -H 'Content-Type: application/json' -d "{
  \"id\": \"$id\", \"kind\": \"model\", \"target\": \"gpt-image-2\", \"inputs\": {\"prompt\": \"a cat\"}}" >/dev/null

while :; do # one call waits for 60 seconds at most
    job=$(call --fail-with-body --retry 5 "$api/v1/jobs/$id/wait?timeout_s=60")
    case $(printf '%s' "$job" | jq -r .state) in
    succeeded)
        printf '%s' "$job" | jq -c .result
        exit 0
        ;;
    dead | cancelled | parked)
        printf '%s' "$job" | jq -c '{id, state, reason}' >&2
        exit 1
        ;;
    esac
done
