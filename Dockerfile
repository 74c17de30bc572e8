# Builds a small image that runs as its own user. Mount your configuration on /config and a volume on /data.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin hulplijn

FROM debian:bookworm-slim
RUN useradd --system --uid 1712 --home /data hulplijn && mkdir /data && chown hulplijn /data
COPY --from=build /src/target/release/hulplijn /usr/local/bin/hulplijn
COPY prompts /prompts
COPY config /config
USER hulplijn
VOLUME /data
EXPOSE 5060/udp 5060/tcp 9712/tcp 20000-29999/udp
ENTRYPOINT ["hulplijn"]
CMD ["serve", "--config", "/config"]
