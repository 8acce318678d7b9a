#!/usr/bin/env bash
# The VM's start-up file. It runs as root at each boot, and whenever `vm.sh update` runs it again: what is there already
# it leaves alone. Everything it needs comes from the VM's metadata, so a new VM needs no hand. For Ubuntu 24.04.
set -Eeuo pipefail

export DEBIAN_FRONTEND=noninteractive
export HOME=/root # for docker login; a start-up file gets none
ROOT=${GRAINSERVE_ROOT:-} # the folder that stands for / in tests
FOLDER=$ROOT/etc/grainserve
METADATA=http://metadata.google.internal/computeMetadata/v1/instance
# The first branch of the driver for CUDA 13. `open` is NVIDIA's name for the kernel modules that T4 and L4 may use.
DRIVER=580-server
REBOOTED=$FOLDER/rebooted-for-the-driver

say() { echo "grainserve: $*"; }

fail() {
    say "failed: $*" >&2
    exit 1
}

retry() {
    local tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        if "$@"; then return; fi
        say "try $tries of 10 failed: $*"
        sleep 15
    done
    fail "$*"
}

metadata() { curl --fail --silent --show-error --retry 10 --header 'Metadata-Flavor: Google' "$METADATA/$1"; }

install_packages() {
    retry apt-get -q update
    retry apt-get -q -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@"
}

fetch_files() {
    local file
    mkdir -p "$FOLDER"
    for file in settings.env run.sh Caddyfile keys.toml; do
        # Whole, or not at all.
        metadata "attributes/${file%.*}" > "$FOLDER/.new"
        chmod 644 "$FOLDER/.new"
        mv "$FOLDER/.new" "$FOLDER/$file"
    done
    set -a
    # shellcheck source=/dev/null
    . "$FOLDER/settings.env"
    set +a
}

works() { nvidia-smi > /dev/null 2>&1; }

# Ubuntu's own packages: their modules are built and signed for its kernels, so Secure Boot may stay on and nothing is
# compiled here. They may be for a newer kernel than the one that runs; then the VM reboots, once.
install_driver() {
    if ! works; then
        say "installing NVIDIA's driver $DRIVER"
        install_packages "linux-modules-nvidia-$DRIVER-open-gcp" "nvidia-headless-no-dkms-$DRIVER-open" \
            "nvidia-utils-$DRIVER"
        modprobe nvidia || say "no module for the kernel that runs"
    fi
    if ! works; then
        [ ! -e "$REBOOTED" ] || fail "the driver does not work after a reboot either: journalctl -k says why"
        touch "$REBOOTED"
        say "rebooting into the kernel that the driver is for"
        systemctl reboot
        exit 0
    fi
    rm -f "$REBOOTED"
    # An automatic update would change the libraries under the loaded module. At a boot whose kernel has no module, the
    # lines above install both anew.
    echo 'Unattended-Upgrade::Package-Blacklist { "nvidia-"; "libnvidia-"; "linux-modules-nvidia-"; };' \
        > "$ROOT/etc/apt/apt.conf.d/60grainserve"
}

install_docker() {
    command -v docker > /dev/null || install_packages docker.io
    if [ "$GPU" = none ]; then return; fi
    if ! command -v nvidia-ctk > /dev/null; then
        say "installing NVIDIA's container toolkit"
        local key=$ROOT/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg from=https://nvidia.github.io/libnvidia-container
        install_packages ca-certificates curl gnupg
        curl --fail --silent --show-error --retry 10 "$from/gpgkey" | gpg --dearmor --yes --output "$key"
        curl --fail --silent --show-error --retry 10 "$from/stable/deb/nvidia-container-toolkit.list" |
            sed "s#deb https://#deb [signed-by=$key] https://#g" > "$ROOT/etc/apt/sources.list.d/nvidia-container-toolkit.list"
        install_packages nvidia-container-toolkit
    fi
    if ! grep -qs nvidia "$ROOT/etc/docker/daemon.json"; then
        # With systemd's cgroups a container loses its GPU at the next `systemctl daemon-reload`.
        echo '{"exec-opts": ["native.cgroupdriver=cgroupfs"]}' > "$ROOT/etc/docker/daemon.json"
        nvidia-ctk runtime configure --runtime=docker
        systemctl restart docker
    fi
}

# With a token of the VM's service account, good for an hour.
sign_in() {
    metadata service-accounts/default/token | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])' |
        docker login --username oauth2accesstoken --password-stdin "https://$1"
}

pull_images() {
    local name registry=${ZONE%-*}-docker.pkg.dev
    retry sign_in "$registry"
    for name in worker gateway caddy; do
        retry docker pull --quiet "$(bash "$FOLDER/run.sh" image "$name")"
    done
    docker logout "https://$registry"
}

start_containers() {
    local name
    # 1460: what Compute Engine's networks carry; Docker's own 1500 would be cut up on the way.
    docker network inspect grainserve > /dev/null 2>&1 ||
        docker network create --opt com.docker.network.driver.mtu=1460 grainserve
    for name in worker gateway caddy; do
        bash "$FOLDER/run.sh" start "$name"
    done
    docker image prune --all --force
}

trap 'say "failed in line $LINENO: $BASH_COMMAND" >&2' ERR
fetch_files
if [ "$GPU" != none ]; then install_driver; fi
install_docker
pull_images
start_containers
say "the containers are started; a first start downloads the weights, which takes minutes"
