# One image, every process: `python -m services.<name>`, `python -m trimtab.ui`, `trimtab ...`.
# Not built on the machine where it was written (no engine there); tests/unit/deploy checks what can be checked without.
FROM python:3.12.13-slim-bookworm AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/runtime.lock /tmp/runtime.lock
RUN python -m venv /opt/trimtab \
    && /opt/trimtab/bin/pip install --only-binary :all: --require-hashes -r /tmp/runtime.lock -c /tmp/runtime.lock

FROM python:3.12.13-slim-bookworm
ENV PATH=/opt/trimtab/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    TRIMTAB_DATA_DIR=/data
RUN groupadd --gid 10001 trimtab \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin trimtab \
    && install --directory --owner 10001 --group 10001 /data \
    && printf '#!/bin/sh\nexec python -m trimtab "$@"\n' > /usr/local/bin/trimtab \
    && chmod 755 /usr/local/bin/trimtab
COPY --from=packages /opt/trimtab /opt/trimtab
WORKDIR /app
COPY schemas schemas
COPY services services
COPY trimtab trimtab
COPY examples/threats examples/threats
COPY deploy/make_bucket.py deploy/make_bucket.py
USER 10001:10001
VOLUME /data
CMD ["trimtab", "--help"]
