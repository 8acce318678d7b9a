#!/usr/bin/env bash
# Makes, changes and removes one Compute Engine VM with a GPU and what it needs. `vm.sh --help` tells the rest;
# docs/gce.md goes through it step by step. For bash 3.2 and later, as macOS still has that one.
# shellcheck disable=SC2153 # NAME and BUCKET are settings, no misspellings of local names
set -euo pipefail

usage() {
    cat << 'END'
Usage: deploy/gce/vm.sh COMMAND [--yes] [--settings FILE] [--with-buckets], in the root of the repository

  up      make what is not there: buckets, network, firewall, address, service account, image repository, VM
  update  hand settings, keys and images of the settings' tags to the VM, which replaces the containers that change
  status  show the VM
  stop    stop the VM: the GPU costs nothing, disk, address and buckets do; jobs wait
  start   start it again
  delete  remove all that `up` made, but for the buckets

Without --yes nothing is changed: the commands are printed, to be read or pasted. Where gcloud is installed and signed
in, it is asked first, and what is there already is left out. The same command again goes on where the last one failed.

  --yes            run the commands
  --settings FILE  settings (default deploy/gce/settings.env; settings.env.example says what they are)
  --with-buckets   delete: the buckets too, with every image, result and checkpoint
END
}

die() {
    echo "vm.sh: $*" >&2
    exit 1
}

# --- Settings -------------------------------------------------------------------------------------------------

FORMS='PROJECT ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ a project id, such as my-project
ZONE ^[a-z]+-[a-z]+[0-9]+-[a-z]$ a zone, such as europe-west4-a
NAME ^[a-z][a-z0-9-]{4,18}[a-z0-9]$ 6 to 20 lower-case letters, digits and hyphens
GPU ^(l4|t4|none)$ l4, t4 or none
DOMAIN ^([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]{2,}$ a domain name in lower case, such as grains.example.org
BUCKET ^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$ 3 to 63 lower-case letters, digits, hyphens and underscores
WEIGHTS_BUCKET ^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$ 3 to 63 lower-case letters, digits, hyphens and underscores
MODEL ^sam_[a-z0-9_]+$ a model of config/, such as sam_vit_h
TORCHSERVE_TAG ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ a tag of an image, such as 0.1.0-cuda
CLIENT_TAG ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ a tag of an image, such as 0.1.0
KEYS ^[A-Za-z0-9_./-]+$ the path of a file of keys, of letters, digits and _./-'

read_settings() {
    local line number=0 name value form means faults='' seen=' '
    [ -f "$SETTINGS" ] || die "there is no $SETTINGS: copy deploy/gce/settings.env.example and fill it in"
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in '' | '#'*) continue ;; esac
        name=${line%%=*}
        if [ "$name" = "$line" ] || ! grep -q "^$name " <<< "$FORMS"; then
            faults="$faults
  line $number is no setting: $line"
            continue
        fi
        case $seen in *" $name "*) faults="$faults
  $name is there twice" ;; esac
        seen="$seen$name "
        printf -v "$name" '%s' "${line#*=}"
    done < "$SETTINGS"
    while read -r name form means; do
        value=${!name-}
        case $seen in
            *" $name "*) [[ $value =~ $form ]] || faults="$faults
  $name=$value is not $means" ;;
            *) faults="$faults
  $name is missing: $means" ;;
        esac
    done <<< "$FORMS"
    [ -z "$faults" ] || die "$SETTINGS:$faults"
    REGION=${ZONE%-*}
    ACCOUNT=$NAME@$PROJECT.iam.gserviceaccount.com
    REPOSITORY=$REGION-docker.pkg.dev/$PROJECT/$NAME
    [ "$BUCKET" != "$WEIGHTS_BUCKET" ] || die "$SETTINGS: BUCKET and WEIGHTS_BUCKET are the same"
    [ "$TORCHSERVE_TAG" != latest ] && [ "$CLIENT_TAG" != latest ] ||
        die "$SETTINGS: latest is whatever was pushed last; name a version"
    [ -f "config/$MODEL.yaml" ] || die "$SETTINGS: there is no config/$MODEL.yaml"
    [ -f "config/$MODEL-prompt.yaml" ] || die "$SETTINGS: there is no config/$MODEL-prompt.yaml, for prompts"
    # The files in the weights bucket that the models need. The one for prompts names the checkpoint of both.
    # shellcheck disable=SC2016
    WEIGHTS=$(sed -nE 's#^ *(checkpoint|prompt_decoder): gs://[$]\{GRAINSERVE_WEIGHTS_BUCKET\}/##p' \
        "config/$MODEL-prompt.yaml")
}

require_keys() {
    grep -q sha256 "$KEYS" 2> /dev/null || die "$KEYS holds no key: grainserve keygen lab-a > keys.toml"
}

# --- gcloud ---------------------------------------------------------------------------------------------------

# Whether gcloud can be asked. Without it the commands are printed as for an empty project.
see_gcloud() {
    ASK=no
    if ! command -v gcloud > /dev/null; then
        [ "$YES" = no ] || die "gcloud is not installed"
        echo "# gcloud is not installed: this is for an empty project"
    elif ! gcloud projects describe "$PROJECT" '--format=value(projectId)' > /dev/null 2>&1; then
        [ "$YES" = no ] || die "gcloud cannot see the project $PROJECT: gcloud auth login"
        echo "# gcloud cannot see the project $PROJECT: this is for an empty one"
    else
        ASK=yes
    fi
}

# Sets FOUND: yes, no, or unknown where nobody can be asked. The question is a listing; no says an empty answer, or one
# without the line WANTED where there is such. An error is an error, and ends the script.
look() {
    local answer
    FOUND=unknown
    if [ "$ASK" = yes ]; then
        answer=$(gcloud "$@" --project "$PROJECT") || die "gcloud could not answer; nothing was changed by this step"
        if [ -n "$WANTED" ]; then answer=$(grep -xF "$WANTED" <<< "$answer" || true); fi
        if [ -n "$answer" ]; then FOUND=yes; else FOUND=no; fi
    fi
    WANTED=
}

# Prints a command as it can be pasted, and with --yes runs it.
carry_out() {
    local part line=gcloud
    for part in "$@" --project "$PROJECT"; do
        case $part in
            --*=*[!A-Za-z0-9_./:=@,%+-]*) line="$line ${part%%=*}='${part#*=}'" ;;
            *[!A-Za-z0-9_./:=@,%+-]*) line="$line '$part'" ;;
            *) line="$line $part" ;;
        esac
    done
    echo "$line"
    if [ "$YES" = yes ]; then gcloud "$@" --project "$PROJECT"; fi
}

# ensure PARENT WHAT QUESTION... -- COMMAND...: runs the command unless the question finds something. PARENT says whether
# what the question is about was there; of what was not there nothing is asked.
ensure() {
    local parent=$1 what=$2 question=()
    shift 2
    while [ "$1" != -- ]; do
        question+=("$1")
        shift
    done
    shift
    if [ "$parent" = no ]; then FOUND=no WANTED=; else look "${question[@]}"; fi
    if [ "$FOUND" = yes ]; then
        echo "# there: $what"
    else
        echo "# $what"
        carry_out "$@"
    fi
}

# remove WHAT QUESTION... -- COMMAND...: runs the command unless the question finds nothing.
remove() {
    local what=$1 question=()
    shift
    while [ "$1" != -- ]; do
        question+=("$1")
        shift
    done
    shift
    look "${question[@]}"
    if [ "$FOUND" = no ]; then
        echo "# not there: $what"
    else
        echo "# $what"
        carry_out "$@"
    fi
}

# has_role ROLE WORD...: the next question is whether the service account has a role; the words get the policy. Not every
# command that gets one knows --filter.
has_role() {
    WANTED="$1"$'\t'"serviceAccount:$ACCOUNT"
    shift
    QUESTION=("$@" '--flatten=bindings[].members' '--format=value(bindings.role,bindings.members)')
}

# --- Commands -------------------------------------------------------------------------------------------------

up() {
    local api bucket parent role
    require_keys
    for api in compute artifactregistry iap logging storage; do
        ensure - "API $api" services list --enabled "--filter=config.name=$api.googleapis.com" \
            '--format=value(config.name)' -- services enable "$api.googleapis.com"
    done
    ensure - "service account $NAME" iam service-accounts list "--filter=email=$ACCOUNT" '--format=value(email)' -- \
        iam service-accounts create "$NAME" '--display-name=The grainserve VM'
    parent=$FOUND
    has_role roles/logging.logWriter projects get-iam-policy "$PROJECT"
    ensure "$parent" "which writes logs" "${QUESTION[@]}" -- projects add-iam-policy-binding "$PROJECT" \
        "--member=serviceAccount:$ACCOUNT" --role=roles/logging.logWriter --condition=None
    for bucket in "$BUCKET" "$WEIGHTS_BUCKET"; do
        ensure - "bucket $bucket" storage buckets list "--filter=name=$bucket" '--format=value(name)' -- \
            storage buckets create "gs://$bucket" "--location=$REGION" --uniform-bucket-level-access \
            --public-access-prevention --soft-delete-duration=7d
        parent=$FOUND
        if [ "$bucket" = "$BUCKET" ]; then role=objectUser; else role=objectViewer; fi
        has_role "roles/storage.$role" storage buckets get-iam-policy "gs://$bucket"
        ensure "$parent" "of which the VM is $role" "${QUESTION[@]}" -- storage buckets add-iam-policy-binding \
            "gs://$bucket" "--member=serviceAccount:$ACCOUNT" "--role=roles/storage.$role"
    done
    ensure "$parent" "versions of what is overwritten in $WEIGHTS_BUCKET" storage buckets list \
        "--filter=name=$WEIGHTS_BUCKET AND versioning_enabled=true" '--format=value(name)' -- \
        storage buckets update "gs://$WEIGHTS_BUCKET" --versioning
    ensure - "image repository $NAME" artifacts repositories list "--location=$REGION" \
        "--filter=name=projects/$PROJECT/locations/$REGION/repositories/$NAME" '--format=value(name)' -- \
        artifacts repositories create "$NAME" "--location=$REGION" --repository-format=docker
    parent=$FOUND
    has_role roles/artifactregistry.reader artifacts repositories get-iam-policy "$NAME" "--location=$REGION"
    ensure "$parent" "from which the VM reads" "${QUESTION[@]}" -- artifacts repositories add-iam-policy-binding "$NAME" \
        "--location=$REGION" "--member=serviceAccount:$ACCOUNT" --role=roles/artifactregistry.reader
    ensure - "network $NAME, of its own: the default one lets in ssh from everywhere" compute networks list \
        "--filter=name=$NAME" '--format=value(name)' -- compute networks create "$NAME" --subnet-mode=custom
    ensure - "subnet $NAME" compute networks subnets list "--filter=name=$NAME AND region:$REGION" \
        '--format=value(name)' -- compute networks subnets create "$NAME" "--network=$NAME" "--region=$REGION" \
        --range=10.80.0.0/24
    ensure - "firewall: the world reaches Caddy" compute firewall-rules list "--filter=name=$NAME-web" \
        '--format=value(name)' -- compute firewall-rules create "$NAME-web" "--network=$NAME" --direction=INGRESS \
        --allow=tcp:80,tcp:443 --source-ranges=0.0.0.0/0 "--target-tags=$NAME"
    ensure - "firewall: ssh through Identity-Aware Proxy alone" compute firewall-rules list \
        "--filter=name=$NAME-ssh" '--format=value(name)' -- compute firewall-rules create "$NAME-ssh" \
        "--network=$NAME" --direction=INGRESS --allow=tcp:22 --source-ranges=35.235.240.0/20 "--target-tags=$NAME"
    ensure - "address for $DOMAIN" compute addresses list "--filter=name=$NAME AND region:$REGION" \
        '--format=value(name)' -- compute addresses create "$NAME" "--region=$REGION"
    see_contents
    machine
    ensure - "VM $NAME, which costs money from here on" compute instances list \
        "--filter=name=$NAME AND zone:$ZONE" '--format=value(name)' -- compute instances create "$NAME" \
        "--zone=$ZONE" "${MACHINE[@]}" --maintenance-policy=TERMINATE \
        --image-family=ubuntu-2404-lts-amd64 --image-project=ubuntu-os-cloud \
        --boot-disk-size=100GB --boot-disk-type=pd-balanced \
        --shielded-secure-boot --shielded-vtpm --shielded-integrity-monitoring \
        "--subnet=$NAME" "--address=$NAME" "--tags=$NAME" \
        "--service-account=$ACCOUNT" --scopes=cloud-platform \
        --metadata=enable-oslogin=TRUE,serial-port-logging-enable=TRUE "$(files)"
}

machine() {
    case $GPU in
        l4) MACHINE=(--machine-type=g2-standard-8) ;;
        t4) MACHINE=(--machine-type=n1-standard-8 "--accelerator=type=nvidia-tesla-t4,count=1") ;;
        none) MACHINE=(--machine-type=e2-standard-8) ;;
    esac
}

# What the VM reads when it starts.
files() {
    local gce=deploy/gce
    echo "--metadata-from-file=startup-script=$gce/startup.sh,run=$gce/run.sh,Caddyfile=$gce/Caddyfile,settings=$SETTINGS,keys=$KEYS"
}

# Images and weights come by hand between the first `up` and the VM, so that no GPU waits for them.
see_contents() {
    local missing='' image tags names file
    if [ "$YES" = yes ]; then
        for image in "torchserve:$TORCHSERVE_TAG" "client:$CLIENT_TAG"; do
            tags=$(gcloud artifacts docker images list "$REPOSITORY" --include-tags \
                "--filter=package=$REPOSITORY/${image%%:*}" '--format=value(tags)' --project "$PROJECT")
            case ",$(tr -s '; \n' , <<< "$tags")" in *",${image#*:},"*) ;; *) missing="$missing, $image" ;; esac
        done
        names=$(gcloud storage objects list "gs://$WEIGHTS_BUCKET/**" '--format=value(name)' --project "$PROJECT")
        for file in $WEIGHTS; do
            grep -qxF "$file" <<< "$names" || missing="$missing, $file"
        done
        [ -n "$missing" ] || return 0
    fi
    cat << END
# By hand, before the VM:
#   docker build --target torchserve -t $REPOSITORY/torchserve:$TORCHSERVE_TAG .
#   docker build --target client -t $REPOSITORY/client:$CLIENT_TAG .
#   gcloud auth configure-docker $REGION-docker.pkg.dev
#   docker push $REPOSITORY/torchserve:$TORCHSERVE_TAG
#   docker push $REPOSITORY/client:$CLIENT_TAG
$(for file in $WEIGHTS; do echo "#   grainserve weights push $file --bucket $WEIGHTS_BUCKET"; done)
#   an A record for $DOMAIN, with the address of: gcloud compute addresses list --project $PROJECT
END
    [ "$YES" = no ] || die "the VM waits for what is missing: ${missing#, }; then the same command again"
}

update() {
    require_keys
    echo "# Settings, keys and files"
    carry_out compute instances add-metadata "$NAME" "--zone=$ZONE" "$(files)"
    echo "# The start-up file again: it replaces the containers that change"
    carry_out compute ssh "$NAME" "--zone=$ZONE" --tunnel-through-iap \
        --command='sudo google_metadata_script_runner startup'
}

status() {
    carry_out compute instances list "--filter=name=$NAME AND zone:$ZONE" \
        '--format=table(name,zone.basename(),status,networkInterfaces[0].accessConfigs[0].natIP)'
}

stop() { carry_out compute instances stop "$NAME" "--zone=$ZONE"; }

start() { carry_out compute instances start "$NAME" "--zone=$ZONE"; }

# In the opposite order of `up`.
delete() {
    local rule bucket role
    remove "VM $NAME" compute instances list "--filter=name=$NAME AND zone:$ZONE" '--format=value(name)' -- \
        compute instances delete "$NAME" "--zone=$ZONE" --quiet
    remove "address" compute addresses list "--filter=name=$NAME AND region:$REGION" '--format=value(name)' -- \
        compute addresses delete "$NAME" "--region=$REGION" --quiet
    for rule in "$NAME-ssh" "$NAME-web"; do
        remove "firewall $rule" compute firewall-rules list "--filter=name=$rule" '--format=value(name)' -- \
            compute firewall-rules delete "$rule" --quiet
    done
    remove "subnet" compute networks subnets list "--filter=name=$NAME AND region:$REGION" '--format=value(name)' -- \
        compute networks subnets delete "$NAME" "--region=$REGION" --quiet
    remove "network" compute networks list "--filter=name=$NAME" '--format=value(name)' -- \
        compute networks delete "$NAME" --quiet
    remove "image repository" artifacts repositories list "--location=$REGION" \
        "--filter=name=projects/$PROJECT/locations/$REGION/repositories/$NAME" '--format=value(name)' -- \
        artifacts repositories delete "$NAME" "--location=$REGION" --quiet
    for bucket in "$WEIGHTS_BUCKET" "$BUCKET"; do
        if [ "$WITH_BUCKETS" = yes ]; then
            remove "bucket $bucket, with all that is in it" storage buckets list "--filter=name=$bucket" \
                '--format=value(name)' -- storage rm "gs://$bucket" --recursive
            continue
        fi
        echo "# kept: bucket $bucket"
        if [ "$bucket" = "$BUCKET" ]; then role=objectUser; else role=objectViewer; fi
        look storage buckets list "--filter=name=$bucket" '--format=value(name)'
        if [ "$FOUND" != no ]; then
            has_role "roles/storage.$role" storage buckets get-iam-policy "gs://$bucket"
            remove "of which the VM was $role" "${QUESTION[@]}" -- storage buckets remove-iam-policy-binding \
                "gs://$bucket" "--member=serviceAccount:$ACCOUNT" "--role=roles/storage.$role"
        fi
    done
    has_role roles/logging.logWriter projects get-iam-policy "$PROJECT"
    remove "role that writes logs" "${QUESTION[@]}" -- projects remove-iam-policy-binding "$PROJECT" \
        "--member=serviceAccount:$ACCOUNT" --role=roles/logging.logWriter --condition=None
    remove "service account" iam service-accounts list "--filter=email=$ACCOUNT" '--format=value(email)' -- \
        iam service-accounts delete "$ACCOUNT" --quiet
}

# --- The command line -----------------------------------------------------------------------------------------

COMMAND='' WANTED='' YES=no WITH_BUCKETS=no SETTINGS=deploy/gce/settings.env
while [ $# -gt 0 ]; do
    case $1 in
        --yes) YES=yes ;;
        --with-buckets) WITH_BUCKETS=yes ;;
        --settings)
            [ $# -gt 1 ] || die "--settings names a file"
            SETTINGS=$2
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        up | update | status | stop | start | delete)
            [ -z "$COMMAND" ] || die "one command at a time"
            COMMAND=$1
            ;;
        *) die "what is $1? See --help" ;;
    esac
    shift
done
if [ -z "$COMMAND" ]; then
    usage >&2
    exit 2
fi
[ "$WITH_BUCKETS" = no ] || [ "$COMMAND" = delete ] || die "--with-buckets is for delete"
[ -f deploy/gce/vm.sh ] || die "run it in the root of the repository"
# A comma would end the name in --metadata-from-file.
case $SETTINGS in *[!A-Za-z0-9_./-]*) die "--settings: a path of letters, digits and _./- only" ;; esac
read_settings
if [ "$COMMAND" = status ]; then YES=yes; fi # it changes nothing
see_gcloud
"$COMMAND"
if [ "$YES" = no ]; then echo "# Nothing was changed. With --yes the commands are run."; fi
