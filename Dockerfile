# A server with its page; docs/serving.md says how to build and run it.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3.12 python3.12-venv libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# No GPU shows during a build, so it is named: cu130, cu128, cu126 or cpu.
ARG TORCH=cu130
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

WORKDIR /app
# What the environment depends on comes alone, so that it is made again only when that changes.
COPY requirements.txt pyproject.toml setup_env.sh ./
COPY scripts/bootstrap.sh scripts/setup_env.py scripts/
COPY latentsync/__init__.py latentsync/
RUN touch README.md && bash setup_env.sh --no-checkpoints --torch "$TORCH"
COPY . .

RUN useradd --uid 10001 --create-home latentsync \
    && mkdir -p /data \
    && chown -R latentsync checkpoints /data
USER 10001
VOLUME ["/app/checkpoints", "/data"]

EXPOSE 7860
HEALTHCHECK --start-period=5m CMD ["/app/.venv/bin/python", "-c", "from http.client import HTTPConnection; \
server = HTTPConnection('127.0.0.1', 7860, timeout=10); server.request('GET', '/v2/health'); \
exit(server.getresponse().status != 200)"]
ENTRYPOINT ["/app/.venv/bin/python", "gradio_app.py", "--host", "0.0.0.0", "--data", "/data"]
