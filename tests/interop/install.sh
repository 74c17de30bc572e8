#!/bin/sh
# Installs the programs that the tests call, by apt, when one is missing. Fails when one can't be had.
set -eu

# Program and package.
programs="sipp:sip-tester baresip:baresip-core linphonec:linphone-cli espeak-ng:espeak-ng sox:sox"
# baresip's modules that tests/interop/baresip.rs loads.
modules="g711 sndfile aufile aubridge account menu ctrl_tcp"

missing() {
    for pair in $programs; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
    for module in $modules; do
        [ -e "/usr/lib/baresip/modules/$module.so" ] || [ -e "/usr/local/lib/baresip/modules/$module.so" ] ||
            echo baresip-core
    done
}

need=$(missing | sort -u)
[ -n "$need" ] || exit 0
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $need
need=$(missing | sort -u)
[ -z "$need" ] || {
    echo "still missing after the installation:" $need >&2
    exit 1
}
