# All programs of Glance in one image. Each service of compose.yaml and of deploy/kubernetes/ runs one of them.
#
#   docker build --tag glance .                                  the services, for a broker of your own
#   docker build --tag glance-standalone --target standalone .   `glance` with a broker inside: one container, no replicas
#   docker build --tag glance-broker --target broker .           the broker of both

# Compiler and runtime are of the same Debian, so that the C library is the same.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG NATS_IMAGE=nats:2.15.1-alpine

# ---- The broker: the image of NATS with nats.conf, run by nobody in particular, and a folder that belongs to it.
FROM ${NATS_IMAGE} AS broker
RUN mkdir -p /data && chown 65532:65532 /data
COPY nats.conf deploy/compose/container.conf /etc/glance/
ENV GLANCE_NATS_STORE=/data
USER 65532:65532
VOLUME /data
ENTRYPOINT []
CMD ["nats-server", "--config", "/etc/glance/container.conf"]

# ---- What decides which dependencies are built: the manifests and the lock, with empty sources in the place of ours.
# The two files at the end are named by the tests' manifest, and cargo wants them to be there.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /source
COPY . .
RUN set -eu; \
    find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete; \
    for manifest in $(find . -mindepth 2 -name Cargo.toml); do \
      mkdir -p "${manifest%/*}/src"; \
      touch "${manifest%/*}/src/lib.rs"; \
      echo 'fn main() {}' > "${manifest%/*}/src/main.rs"; \
    done; \
    mkdir -p tests/tests examples; \
    touch tests/tests/faults.rs examples/first_report.rs

# ---- The dependencies. The copy is the same as before when only our sources changed, and so this layer is taken again.
FROM ${RUST_IMAGE} AS build
WORKDIR /source
# Only what the image holds is built; the tests' dependencies are not.
ARG PACKAGES="-p glance-standalone -p glance-aggregator -p glance-bridge -p glance-web -p glance-simulator"
COPY --from=manifests /source ./
RUN cargo build --release --locked --bins ${PACKAGES}

# ---- The programs.
COPY . .
# Cargo goes by the time of a file, and those of a checkout may be older than the empty ones.
RUN find shared services -name '*.rs' -exec touch {} + && \
    cargo build --release --locked --bins ${PACKAGES} && \
    mkdir -p /programs && \
    cd target/release && \
    cp glance glance-aggregator glance-bridge glance-web glance-simulator /programs/

# ---- What all images share: no shell and no package manager, and nothing of ours that can be written to.
FROM ${RUNTIME_IMAGE} AS programs
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Glance" \
      org.opencontainers.image.description="The at-a-glance status page for large Discord bots" \
      org.opencontainers.image.licenses="ISC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /programs/ /usr/local/bin/
# The base has the same user, but a number can be checked by Kubernetes (runAsNonRoot).
USER 65532:65532
WORKDIR /
# No entry point: the command is the name of a program, with its flags.
ENTRYPOINT []

# ---- `glance` with a broker of its own, its store in the volume /data.
FROM programs AS standalone
COPY --from=broker /usr/local/bin/nats-server /usr/local/bin/nats-server
COPY --from=broker --chown=65532:65532 /data /data
ENV GLANCE_NATS_SERVER=/usr/local/bin/nats-server \
    GLANCE_DATA_DIR=/data \
    GLANCE_METRICS_ADDRESS=127.0.0.1:9464
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["glance", "--check-health"]
CMD ["glance"]

# ---- The services. Built when no target is named.
FROM programs
EXPOSE 3000 3001
CMD ["glance"]
