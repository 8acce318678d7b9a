#!/usr/bin/env bash
# The programs that startup.sh calls on its VM: `fake_machine.sh FOLDER PROGRAM ARGUMENT...`.
#
# FOLDER holds `metadata/`, what the VM is told; `bin/`, where an installed program appears; `root/`, its files; `module`,
# which kernel the driver's module is for; `pushed`, how often images were pushed again; and, as they come, `driver`,
# `network` and a file for each container that runs. Each call is a line of `calls`, its words parted by tabs.
set -euo pipefail

folder=$1
program=${2##*/}
shift 2
cd "$folder"
(IFS=$'\t' && echo "$program${1+$'\t'}$*" >> calls)
for last; do :; done

docker() {
    local name='' mark=''
    case "$*" in
        'image inspect '*) echo "id of $last, pushed $(cat pushed)" ;;
        'ps '*)
            [[ "$*" =~ name=\^([a-z]+)\$ ]] && name=${BASH_REMATCH[1]}
            [[ "$*" =~ label=grainserve=([0-9a-f]+) ]] && mark=${BASH_REMATCH[1]}
            if [ -e "running-$name" ] && grep -q "$mark" "running-$name"; then echo "an id"; fi
            ;;
        'run --detach --label grainserve='*)
            [[ "$*" =~ --label\ grainserve=([0-9a-f]{64})\ --name\ ([a-z]+) ]]
            echo "${BASH_REMATCH[1]}" > "running-${BASH_REMATCH[2]}"
            ;;
        'rm '*) rm "running-$last" ;;
        'network inspect '*) [ -e network ] ;;
        'network create '*) touch network ;;
        'login '*) cat > token ;;
    esac
}

case "$program $*" in
    'docker '*) docker "$@" ;;
    'curl '*/attributes/*) cat "metadata/${last##*/}" ;;
    'curl '*/token) echo '{"access_token":"a token","expires_in":3599,"token_type":"Bearer"}' ;;
    'curl '*.list) echo 'deb https://nvidia.github.io/libnvidia-container/stable/deb/ARCH /' ;;
    'gpg '*) cat > /dev/null ;;
    'apt-get '*linux-modules-nvidia*) echo installed > driver ;;
    'apt-get '*nvidia-container-toolkit) ln -s docker bin/nvidia-ctk ;;
    'nvidia-ctk '*) echo '{"exec-opts": ["native.cgroupdriver=cgroupfs"], "runtimes": {"nvidia": {}}}' > root/etc/docker/daemon.json ;;
    'modprobe '*)
        [ "$(cat module)" = "for this kernel" ]
        echo loaded > driver
        ;;
    'systemctl reboot')
        if [ "$(cat module)" = "for the next kernel" ]; then echo loaded > driver; fi
        ;;
    'nvidia-smi '*) grep -qs loaded driver ;;
esac
