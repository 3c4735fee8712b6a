# One image for every container: coordinator, worker and benchmark are commands of it.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

# What the package depends on is a layer of its own, made anew only when pyproject.toml changes.
WORKDIR /build
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" >needs.txt \
    && python -m pip install --quiet -r needs.txt
COPY . .
RUN python -m pip install --quiet --no-deps . && install scripts/side-by-side /usr/local/bin/ && rm -r /build/*

# A user without rights owns what volumes are laid over: runs, keys, and the compiled kernels, made here for a fast first start.
RUN useradd --create-home --uid 10001 decoupled \
    && install -d -o decoupled /work /work/runs /keys /keys/coordinator /keys/worker /kernels
USER decoupled
ENV NUMBA_CACHE_DIR=/kernels MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
RUN decoupled train --epochs 1 --hidden 16 --out /tmp/run >/dev/null && rm -r /tmp/run

CMD ["decoupled", "--help"]
