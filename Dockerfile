# The pinned install of the Makefile, without training: `service/` is the only package that is copied.
FROM python:3.11-slim AS build
WORKDIR /build
ARG EXTRAS=signing
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service/ service/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.11-slim
COPY --from=build /venv /venv
USER 65532:65532
ENV PYTHONDONTWRITEBYTECODE=1 \
    CALIBRANT_HOST=0.0.0.0 \
    CALIBRANT_ARTIFACTS=/artifacts
VOLUME ["/artifacts"]
EXPOSE 8000
CMD ["/venv/bin/python", "-m", "service", "serve"]
