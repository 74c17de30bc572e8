#!/bin/sh
# Installs the programs that the tests call when one is missing: by apt, JsSIP by npm and PESQ by pip into folders that git
# does not see. Fails when one can't be had.
set -eu
cd "$(dirname "$0")"

# Program and package.
programs="sipp:sip-tester baresip:baresip-core linphonec:linphone-cli chromium:chromium npm:npm espeak-ng:espeak-ng sox:sox"
# baresip's modules that baresip.rs loads.
modules="g711 g722 opus sndfile aufile aubridge account menu ctrl_tcp srtp"

missing() {
    for pair in $programs; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
    # What pip needs to build PESQ.
    python3 -c 'import ensurepip, os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
        echo python3-venv python3-dev
    for module in $modules; do
        [ -e "/usr/lib/baresip/modules/$module.so" ] || [ -e "/usr/local/lib/baresip/modules/$module.so" ] ||
            echo baresip-core
    done
}

need=$(missing | sort -u)
if [ -n "$need" ]; then
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
fi

# npm writes this file when all is installed.
[ jssip/node_modules/.package-lock.json -nt jssip/package-lock.json ] ||
    npm ci --prefix jssip --ignore-scripts --no-audit --no-fund

# A folder of Python's own for PESQ, which marks what tests/quality hears, and for FFmpeg's codecs, in which its peers speak.
venv=../quality/venv
"$venv/bin/python" -c 'import av, pesq' 2>/dev/null || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r ../quality/requirements.txt
}
