#!/usr/bin/env bash
# A gcloud that remembers what it was told to make: `fake_gcloud.sh STATE ARGUMENT...`.
#
# STATE is a folder: `made` has the commands whose results are there, a line each; `calls` every command, its words parted by
# tabs; `images` and `weights` have the tags and objects that somebody brought. Listings answer from those. A command that it does not know fails.
set -euo pipefail

state=$1
shift
command="$*"
(IFS=$'\t' && echo "$*" >> "$state/calls")
touch "$state/made"

# Whether a command was made; removes those that match.
made() { grep -Eq "^$1( |$)" "$state/made"; }

remove() {
    made "$1" || fail "nothing to remove"
    grep -Ev "^$1( |$)" "$state/made" > "$state/left" || true
    mv "$state/left" "$state/made"
}

answer() { if made "$1"; then echo there; fi; }

fail() {
    echo "$1: $command" >&2
    exit 1
}

is() { [[ $command =~ ^$1 ]]; }

part() { echo "${BASH_REMATCH[$1]}"; }

policy='(projects|storage buckets|artifacts repositories)'
if is 'projects describe'; then
    echo a-project
elif is 'services list --enabled --filter=config.name=([^ ]+)'; then
    answer "services enable $(part 1)"
elif is 'iam service-accounts list --filter=email=([^@]+)@'; then
    answer "iam service-accounts create $(part 1)"
elif is "$policy get-iam-policy ([^ ]+) "; then
    sed -nE "s|^$(part 1) add-iam-policy-binding $(part 2) .*--member=([^ ]+) --role=([^ ]+).*|\2\t\1|p" "$state/made"
elif is 'storage buckets list --filter=name=([^ ]+) AND versioning_enabled=true'; then
    answer "storage buckets update gs://$(part 1) --versioning"
elif is 'storage buckets list --filter=name=([^ ]+)'; then
    answer "storage buckets create gs://$(part 1)"
elif is 'artifacts repositories list .*/repositories/([^ ]+)'; then
    answer "artifacts repositories create $(part 1)"
elif is 'compute (networks|networks subnets|firewall-rules|addresses|instances) list --filter=name=([^ ]+)'; then
    answer "compute $(part 1) create $(part 2)"
elif is 'artifacts docker images list'; then
    cat "$state/images"
elif is 'storage objects list'; then
    cat "$state/weights"
elif is '(.*) delete ([^ @]+)'; then
    # A repository takes its roles along.
    remove "$(part 1) (create|add-iam-policy-binding) $(part 2)"
elif is "$policy remove-iam-policy-binding ([^ ]+) .*--role=([^ ]+)"; then
    remove "$(part 1) add-iam-policy-binding $(part 2) .*--role=$(part 3)"
elif is 'storage rm ([^ ]+) --recursive'; then
    remove "storage buckets [a-z-]+ $(part 1)"
elif is '.* (create|add-iam-policy-binding|enable) |storage buckets update '; then
    if grep -qxF -e "$command" "$state/made"; then fail "already exists"; fi
    echo "$command" >> "$state/made"
elif ! is 'compute (instances (add-metadata|stop|start)|ssh) '; then
    fail unknown
fi
