# syntax=docker/dockerfile:1
# Strowger in a container: docker compose up --build. What the settings mean is in docs/running.md.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# SQLite and the cryptography are compiled from their C sources.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential=12.* \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --locked --release --bin strowger \
    && mkdir -p /out/data \
    && cp target/release/strowger /out/strowger

# The C library, time zones and certificates; no shell, no package manager. Its user `nonroot` is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/strowger /usr/local/bin/strowger
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/strowger
COPY config/config.yml /etc/strowger/config.yml
ENV STROWGER_CONFIG=/etc/strowger/config.yml \
    STROWGER_DATA_DIR=/var/lib/strowger
USER 65532:65532
VOLUME /var/lib/strowger
EXPOSE 5060/udp 5060/tcp 5061/tcp 10000-20000/udp
# Running calls may go on for calls.drain_grace seconds: give `docker stop` longer than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=20s --retries=3 CMD ["/usr/local/bin/strowger", "health"]
ENTRYPOINT ["/usr/local/bin/strowger"]
CMD ["run"]
