# Installs with the same command and the same pinned versions as `make run`.
FROM python:3.12.12-slim

ENV PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY config config
COPY jobs jobs
COPY worker worker
RUN python3 -m venv .venv
RUN .venv/bin/pip install --quiet -c constraints.txt -e .

RUN useradd --system --uid 10001 --no-create-home knouds \
    && install -d -o knouds -m 0700 /state
ENV KNOUDS_STATE_DIR=/state \
    PATH=/app/.venv/bin:$PATH
USER knouds

# No health check: the right one depends on the command. `api` serves /livez and /readyz.
# A worker waits up to KNOUDS_SHUTDOWN_GRACE_S (630) for open sync runs after SIGTERM. Give the
# container as long: `docker run --stop-timeout 630`, `terminationGracePeriodSeconds: 630`.
ENTRYPOINT ["knouds-worker"]
