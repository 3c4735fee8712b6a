# One image for every container: coordinator, worker and benchmark are commands of it. What is built by default, and the target
# mlp, have no PyTorch; the targets that are named as its models do (docs/distributed.md).
FROM python:3.11-slim AS mlp

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

# What the package depends on is a layer of its own, made anew only when pyproject.toml changes.
WORKDIR /build
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" >needs.txt \
    && python -m pip install --quiet -r needs.txt
COPY . .
RUN python -m pip install --quiet --no-deps . && install scripts/side-by-side /usr/local/bin/ \
    && mkdir /text && cat README.md docs/*.md >/text/docs.txt && rm -r /build/*

# A user without rights owns what volumes are laid over: runs, keys, and the compiled kernels, made here for a fast first start.
RUN useradd --create-home --uid 10001 decoupled \
    && install -d -o decoupled /work /work/runs /keys /keys/coordinator /keys/worker /kernels /mine
USER decoupled
ENV NUMBA_CACHE_DIR=/kernels MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
RUN decoupled train --epochs 1 --hidden 16 --out /tmp/run >/dev/null && rm -r /tmp/run

CMD ["decoupled", "--help"]

FROM mlp AS torch
USER root
ARG TORCH="torch>=2.6 --index-url https://download.pytorch.org/whl/cpu"
RUN python -m pip install --quiet $TORCH
USER decoupled

FROM torch AS torch-mlp
FROM torch AS vgg
FROM torch AS resnet
FROM torch AS gpt
FROM torch AS own

FROM mlp
