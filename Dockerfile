# Stage 1 builds the wheel and installs everything from the hashed locks; stage 2 carries only what runs.
# The image has the packages of evidence packs and no embedded PostgreSQL: set OUTBOUND_DATABASE_URL.
# A digest pins the base image: docker build --build-arg BASE=python:3.13-slim@sha256:… .
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
WORKDIR /build
COPY deploy/image.lock deploy/build.lock ./
RUN python -m venv /opt/outbound \
 && /opt/outbound/bin/pip install --no-cache-dir --no-deps --require-hashes -r image.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r build.lock
COPY pyproject.toml README.md ./
COPY migrations ./migrations
COPY service ./service
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/outbound/bin/pip install --no-cache-dir --no-deps --no-index /wheels/outbound_gate-*.whl

FROM ${BASE}
RUN groupadd --system --gid 10001 outbound \
 && useradd --system --uid 10001 --gid outbound --create-home --home-dir /var/lib/outbound outbound
COPY --from=build /opt/outbound /opt/outbound
ENV PATH=/opt/outbound/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OUTBOUND_HOST=0.0.0.0 \
    OUTBOUND_PORT=8000 \
    OUTBOUND_DATA_DIR=/var/lib/outbound \
    OUTBOUND_LOG_FORMAT=json
USER 10001:10001
VOLUME /var/lib/outbound
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"OUTBOUND_PORT\"]}/readyz', timeout=2)"]
CMD ["outbound", "serve"]
