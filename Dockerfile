# syntax=docker/dockerfile:1
# docker build -t mosic . && docker run --init -p 127.0.0.1:8000:8000 -v media:/srv/media -v data:/var/lib/mosic mosic

FROM python:3.13.16-slim-trixie AS build

# With a mirror: --build-arg PIP_INDEX_URL=…
ARG PIP_INDEX_URL
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    POETRY_VIRTUALENVS_CREATE=false

RUN --mount=type=cache,target=/var/cache/pip \
    python -m venv /opt/poetry \
    && /opt/poetry/bin/pip install poetry==2.5.1 poetry-plugin-export==1.10.1 \
    && python -m venv /opt/mosic

WORKDIR /src

# Dependencies change less often than Mosic, so their layer stays cached. The versions and hashes are those of
# poetry.lock; pip downloads them.
COPY pyproject.toml poetry.lock ./
RUN --mount=type=cache,target=/var/cache/pip \
    /opt/poetry/bin/poetry export --only main --all-extras --output /tmp/requirements.txt \
    && /opt/mosic/bin/pip install --require-hashes --requirement /tmp/requirements.txt

COPY README.md LICENSE ./
COPY src src
COPY migrations migrations
RUN /opt/poetry/bin/poetry build --format wheel --output /tmp/wheel \
    && /opt/mosic/bin/pip install --no-cache-dir --no-deps --no-index /tmp/wheel/*.whl


FROM python:3.13.16-slim-trixie

# An account with a name: the embedded PostgreSQL needs one, and refuses to run as root.
RUN useradd --system --no-log-init --user-group --uid 10001 --home-dir /var/lib/mosic --shell /usr/sbin/nologin mosic \
    && install --directory --owner=mosic --group=mosic --mode=0750 /srv/media /var/lib/mosic

COPY --from=build /opt/mosic /opt/mosic

ENV PATH="/opt/mosic/bin:$PATH" \
    MOSIC_HOST=0.0.0.0 \
    MOSIC_MEDIA_ROOT=/srv/media \
    MOSIC_DATA_DIR=/var/lib/mosic

VOLUME ["/srv/media", "/var/lib/mosic"]
USER 10001
EXPOSE 8000

# It uses MOSIC_HOST and MOSIC_APP_PORT; it does not know the options of `mosic serve`.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "mosic.cli.health"]

ENTRYPOINT ["mosic"]
CMD ["serve"]
