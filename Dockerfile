# ttfs as a container: for NVIDIA GPUs, and for CPUs alone. docs/several_gpus.md, "In a container", says how to use it.
#
#   docker build -t ttfs .                            # CUDA 12; --build-arg CUDA=13 for CUDA 13
#   docker build -t ttfs-cpu --target cpu .
#
# CUDA's libraries come as wheels, which setup.cfg names: no CUDA toolkit and no nvcc. PyTorch, several GB, is left out:
# it only fetches data sets and reads .pt files. --build-arg PACKAGES=torchvision brings it, or whatever else is wanted.

# The Python of the tests. g++ builds the kernels for the CPU, with which `ttfs check` compares a GPU, too
FROM python:3.11-slim-bookworm AS common
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/ttfs \
    && install -d -m 1777 /cache /work
# What is compiled lasts if /cache is a volume. A home for whichever user the container is given
ENV PATH=/opt/ttfs/bin:$PATH \
    HOME=/tmp \
    TTFS_CUPY_CACHE=/cache \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# The wheel, and what it asks for by extra: a layer of dependencies is made anew only if setup.cfg has changed
FROM common AS requirements
WORKDIR /source
COPY setup.cfg ./
RUN python3 -c 'import configparser; \
    config = configparser.RawConfigParser(); \
    config.read("setup.cfg"); \
    extras = {"": config["options"]["install_requires"], **config["options.extras_require"]}; \
    [open(f"requirements-{name}.txt", "w").write(text.replace("torchvision", "")) for name, text in extras.items()]'

FROM common AS wheel
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY ttfs_cupy ttfs_cupy
COPY models models
COPY data data
COPY configs configs
COPY benchmarks benchmarks
RUN pip wheel --no-deps --wheel-dir /wheel .

FROM common AS shared
ARG PACKAGES=""
COPY --from=requirements /source/requirements-*.txt /tmp/
# hadolint ignore=DL3042,SC2086
RUN pip install -r /tmp/requirements-.txt -r /tmp/requirements-mpi.txt -r /tmp/requirements-digits.txt ${PACKAGES}

FROM shared AS cpu
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps /wheel/*.whl
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["ttfs"]
CMD ["--help"]

# The last one is what is built without --target
FROM shared AS gpu
ARG CUDA=12
RUN pip install -r "/tmp/requirements-cuda${CUDA}.txt" -r "/tmp/requirements-nccl${CUDA}.txt"
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps /wheel/*.whl
# what NVIDIA's container toolkit brings from the host: the driver, and nvidia-smi
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["ttfs"]
CMD ["--help"]
