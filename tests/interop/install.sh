#!/bin/sh
# Installs the programs that tests/interop calls, by apt, when one is missing. Fails when it can't.
set -eu
need=
command -v sipp >/dev/null || need="$need sip-tester"
command -v baresip >/dev/null || need="$need baresip-core"
command -v espeak-ng >/dev/null || need="$need espeak-ng"
command -v sox >/dev/null || need="$need sox"
[ -n "$need" ] || exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $need
