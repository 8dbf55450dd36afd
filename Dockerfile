# One build, an image for each program: docker build --target gateway .
# The services' images hold a program and the C library, no shell. The worker's is a small Debian, because its tasks are programs.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
# Function names stay for backtraces; the line tables would make the images five times as large.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# `off` builds in about half of the time; the programs are then not optimized across crates.
ARG LTO=thin
ENV CARGO_PROFILE_RELEASE_LTO=$LTO
COPY . .
# lb on its own: built together with the others it would get their features, and link AMQP.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=longshore-target,sharing=locked,target=/source/target \
    cargo build --locked --release -p lb && \
    cargo build --locked --release -p gateway -p worker -p cache-svc -p store-svc -p cli && \
    mkdir -p /out/programs && \
    cd target/release && cp gateway worker cache-svc store-svc lb longshore /out/programs/
# What the programs load at their start, under the paths where they look for it; where names are looked up; a folder for data.
RUN mkdir -p /out/system/etc /out/data && \
    ldd /out/programs/* | grep -o '/lib[^ ]*' | sort -u | xargs -I LIBRARY cp --parents -L LIBRARY /out/system && \
    cp /etc/nsswitch.conf /out/system/etc/

FROM scratch AS service
COPY --from=build /out/system /
USER 10001:10001

FROM service AS gateway
COPY --from=build /out/programs/gateway /usr/local/bin/gateway
EXPOSE 5000
ENTRYPOINT ["/usr/local/bin/gateway"]

FROM service AS cache-svc
COPY --from=build /out/programs/cache-svc /usr/local/bin/cache-svc
EXPOSE 5004
ENTRYPOINT ["/usr/local/bin/cache-svc"]

FROM service AS store-svc
COPY --from=build /out/programs/store-svc /usr/local/bin/store-svc
# A new volume takes over the owner of the folder that it covers.
COPY --from=build --chown=10001:10001 /out/data /data
VOLUME /data
EXPOSE 5002
ENTRYPOINT ["/usr/local/bin/store-svc"]

FROM service AS lb
COPY --from=build /out/programs/lb /usr/local/bin/lb
EXPOSE 8000
ENTRYPOINT ["/usr/local/bin/lb"]

# The commands: docker run --rm --network host longshore-commands submit report_1
FROM service AS commands
COPY --from=build /out/programs/longshore /usr/local/bin/longshore
ENTRYPOINT ["/usr/local/bin/longshore"]

# Tasks are programs, so this image is one to build upon: WORKER_PACKAGES names the Debian packages that they need, or start a
# Dockerfile of your own with `FROM longshore-worker`.
FROM debian:bookworm-slim AS worker
ARG WORKER_PACKAGES=""
RUN if [ -n "$WORKER_PACKAGES" ]; then \
      apt-get update && apt-get install -y --no-install-recommends $WORKER_PACKAGES && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /out/programs/worker /usr/local/bin/worker
USER 10001:10001
EXPOSE 5005
ENTRYPOINT ["/usr/local/bin/worker"]
