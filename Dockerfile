# The images of ChronosDB: three targets, each with its programs, the libraries that they load, and
# nothing else.
#
#   docker build --target node       -t chronosdb/node:0.1.0 .
#   docker build --target operator   -t chronosdb/operator:0.1.0 .
#   docker build --target chronosctl -t chronosdb/chronosctl:0.1.0 .
#
# scripts/images builds the same without a registry: it gives an image with ready folders as ROOTS.

ARG ROOTS=build

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN scripts/deps
RUN scripts/cargo build --release --locked \
        --package chronos-node --package chronosctl --package chronos-operator
RUN scripts/image-roots target/release /roots

FROM ${ROOTS} AS roots

FROM scratch AS node
COPY --from=roots /roots/node /
ENV PATH=/usr/local/bin
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 9000 8080 7947
ENTRYPOINT ["/usr/local/bin/chronosdb"]

FROM scratch AS operator
COPY --from=roots /roots/operator /
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/chronos-operator"]
CMD ["run"]

FROM scratch AS chronosctl
COPY --from=roots /roots/chronosctl /
ENV PATH=/usr/local/bin
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/chronosctl"]
