#!/usr/bin/env bash
# Runs the containers of a VM. The arguments of `docker run` are written here and nowhere else: startup.sh starts the
# containers with them, and `make image-test` runs the images with the same ones.
#
#   run.sh image NAME        print the image's name
#   run.sh arguments NAME    print the arguments of `docker run`, one a line
#   run.sh start NAME        start the container; leave it alone if it runs with these arguments already
#
# NAME is worker (TorchServe), gateway (with a dispatcher in it) or caddy. Settings are environment variables, as
# settings.env.example names them; GRAINSERVE_ROOT is the folder that stands for / in tests.
set -euo pipefail

FOLDER=${GRAINSERVE_ROOT:-}/etc/grainserve
NETWORK=grainserve
CADDY=docker.io/library/caddy:2.10.2

image() {
    local repository=${ZONE%-*}-docker.pkg.dev/$PROJECT/$NAME
    case $1 in
        worker) echo "$repository/torchserve:$TORCHSERVE_TAG" ;;
        gateway) echo "$repository/client:$CLIENT_TAG" ;;
        caddy) echo "$CADDY" ;;
        *)
            echo "run.sh: no container is called $1: worker, gateway or caddy" >&2
            return 1
            ;;
    esac
}

arguments() {
    local image options command=()
    image=$(image "$1") || return 1
    # unless-stopped starts a container again after a failure, and after the security update of Docker, which restarts
    # it; on-failure would not do the second. Inference and metrics are published on loopback at the most, so that only
    # containers on the same network reach TorchServe. Management listens on loopback inside its container.
    options=(--name "$1" --restart unless-stopped --network "$NETWORK" --read-only --cap-drop ALL
        --security-opt no-new-privileges --log-driver gcplogs)
    case $1 in
        worker)
            # Longer than settling and draining. Netty and compiled encoders load native code from /tmp.
            options+=(--stop-timeout 660 --tmpfs "/tmp:rw,exec,size=4g" --shm-size 512m
                --publish 127.0.0.1:8082:8082
                --volume models:/var/lib/grainserve/model_store
                --volume weights:/var/lib/grainserve/weights
                --env "GRAINSERVE_WEIGHTS_BUCKET=$WEIGHTS_BUCKET"
                --env "GRAINSERVE_MODELS=$MODEL $MODEL-prompt")
            if [ "$GPU" != none ]; then
                # A worker that finds no GPU does not start, rather than take a hundred times as long.
                options+=(--gpus all --env GRAINSERVE_REQUIRE_GPU=1)
            fi
            ;;
        gateway)
            # Loopback, so that the VM itself, or a tunnel to it, can ask without TLS.
            options+=(--stop-timeout 45 --tmpfs "/tmp:rw,size=512m"
                --publish 127.0.0.1:8000:8000
                --volume "$FOLDER/keys.toml:/keys.toml:ro"
                --env "GRAINSERVE_BUCKET=$BUCKET"
                --env "GRAINSERVE_MODEL=$MODEL"
                --env GRAINSERVE_TORCHSERVE=http://worker:8080
                --env GRAINSERVE_MANAGEMENT=none)
            # Two jobs at once keep one worker busy. All connections come from Caddy's address.
            command=(gateway --host 0.0.0.0 --keys /keys.toml --dispatch 2 --connections-per-address 512)
            ;;
        caddy)
            options+=(--cap-add NET_BIND_SERVICE
                --publish 80:80 --publish 443:443
                --volume "$FOLDER/Caddyfile:/etc/caddy/Caddyfile:ro"
                --volume caddy-data:/data --volume caddy-config:/config
                --env "DOMAIN=$DOMAIN")
            ;;
    esac
    printf '%s\n' "${options[@]}" "$image" ${command[@]+"${command[@]}"}
}

start() {
    local container=$1 given=() line text image mark
    text=$(arguments "$container")
    image=$(docker image inspect --format '{{.Id}}' "$(image "$container")")
    while IFS= read -r line; do given+=("$line"); done <<< "$text"
    # The arguments, the image behind the tag, and the files that are mounted: a container of another mark is replaced.
    mark=$({
        echo "$text $image"
        sed -n 's|^\(/[^:]*\):.*:ro$|\1|p' <<< "$text" | xargs -r cat
    } | sha256sum | cut -d ' ' -f 1)
    if [ -n "$(docker ps --quiet --filter "name=^$container\$" --filter "label=grainserve=$mark")" ]; then
        echo "$container runs already"
        return
    fi
    if [ -n "$(docker ps --all --quiet --filter "name=^$container\$")" ]; then
        docker stop "$container"
        docker rm "$container"
    fi
    docker run --detach --label "grainserve=$mark" "${given[@]}"
}

if [ $# != 2 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
case $1 in
    image | arguments | start) "$1" "$2" ;;
    *)
        echo "run.sh: no $1: image, arguments or start" >&2
        exit 2
        ;;
esac
