#!/usr/bin/env bash
# Makes .venv with voxrx in it and everything that it needs; does nothing when that is there already.
#
#   scripts/setup.sh          what users have: every extra
#   scripts/setup.sh test     and the tools that work on voxrx takes
#
# On Debian and Ubuntu, as root or with sudo, it installs missing system packages, too; elsewhere it says which ones
# are missing. PYTHON=... chooses the Python to use.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
case "${1:-demo}" in
    demo) extras=all devices= ;;
    test) extras=all,dev devices=yes ;;
    *) echo "usage: $0 [demo | test]" >&2; exit 2 ;;
esac

export DEBIAN_FRONTEND=noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=0
unset PIP_USER PYTHONHOME PYTHONPATH

say() { echo "setup: $*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

# --- is it there already? ---

# Of what the set-up depends on; the folder is in it because scripts in a .venv know their place.
fingerprint() { { pwd; cat setup.cfg pyproject.toml scripts/setup.sh; } | cksum; }

# The extras that .venv has, if it was made from the same files and its Python still runs.
installed() {
    local stamp="$venv/voxrx-setup"
    if [ -f "$stamp" ] && [ "$(sed -n 1p "$stamp")" = "$(fingerprint)" ] && "$venv/bin/python" -c "" 2>/dev/null; then
        sed -n 2p "$stamp"
    fi
}

has() { command -v "$1" >/dev/null 2>&1; }
in_lib() { compgen -G "/usr/lib*/$1" >/dev/null || compgen -G "/usr/lib/*/$1" >/dev/null; }

# Whether the tests can make microphones and speakers without hardware, where they can at all.
has_devices() {
    case "$OSTYPE" in linux*) ;; *) return 0 ;; esac
    has pulseaudio && has pactl && has paplay && has parec && in_lib "libportaudio.so.2" &&
        in_lib "alsa-lib/libasound_module_pcm_pulse.so" && in_lib "alsa-lib/libasound_module_pcm_a52.so"
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

ready=
if [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of "$venv/bin/python")" ]; then
    case "$(installed)" in "$extras" | "$extras",*) ready=yes ;; esac
fi
if [ -n "$ready" ] && { [ -z "$devices" ] || has_devices; }; then exit 0; fi

# --- Python ---

# The first of the given Pythons whose minor version is within limits.
first_python() {
    local lowest=$1 highest=$2 candidate version
    shift 2
    for candidate in "$@"; do
        version=$(version_of "$candidate")
        case "$version" in
            3.*) if [ "${version#3.}" -ge "$lowest" ] && [ "${version#3.}" -le "$highest" ]; then
                     echo "$candidate"; return
                 fi ;;
        esac
    done
}

if [ -n "${PYTHON:-}" ]; then
    python=$(first_python 11 99 "$PYTHON")
    [ -n "$python" ] || fail "PYTHON=$PYTHON is no Python 3.11 or newer; it is $(version_of "$PYTHON" | grep . || echo "none at all")."
else
    names=(python3 python3.13 python3.12 python3.11 python3.14 python3.15 python)
    python=$(first_python 11 13 "${names[@]}")  # for these there are wheels of everything
    python=${python:-$(first_python 11 99 "${names[@]}")}
    [ -n "$python" ] || fail \
        "voxrx needs Python 3.11 or newer; python3 is $(version_of python3 | grep . || echo missing)." \
        "Debian 12 and newer, Ubuntu 24.04 and newer: apt-get install python3 python3-venv" \
        "Ubuntu 22.04: apt-get install python3.11 python3.11-venv" \
        "elsewhere: https://www.python.org/downloads/; or name one that is there: PYTHON=/path/to/python3 make ..."
fi
version=$(version_of "$python")

# --- system packages ---

as_root=(false)
if [ "$(id -u)" = 0 ]; then
    as_root=(env)
elif has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=(sudo env)
fi

apt_updated=
# Tries to install packages of Debian or Ubuntu, as long as none has to go for them (as PipeWire would for PulseAudio).
apt_install() {
    has apt-get && [ "${as_root[0]}" != false ] || return 1
    say "installing with apt: $*"
    local log
    log=$(mktemp)
    if { [ -n "$apt_updated" ] || "${as_root[@]}" apt-get update -q >"$log" 2>&1 || true; } &&
        "${as_root[@]}" DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -q --no-remove --no-install-recommends "$@" >>"$log" 2>&1
    then
        apt_updated=yes
        rm -f "$log"
        return 0
    fi
    tail -n 5 "$log" | sed 's/^/    /' >&2
    rm -f "$log"
    return 1
}

if [ -n "$devices" ] && ! has_devices; then
    apt_install libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins || say \
        "the tests of microphones and speakers will be skipped, or fail when CI=true; they need PortAudio, PulseAudio" \
        "with its utilities, and ALSA's plugins (Debian, Ubuntu: libportaudio2 pulseaudio pulseaudio-utils" \
        "libasound2-plugins)"
fi
if [ -n "$ready" ]; then exit 0; fi

can_make_venv() { "$python" -c "import ensurepip, venv" 2>/dev/null; }

if ! can_make_venv; then
    apt_install "python$version-venv" || apt_install python3-venv || true
    can_make_venv || fail \
        "$python ($version) cannot make virtual environments: its modules venv and ensurepip are missing." \
        "Debian and Ubuntu: apt-get install python$version-venv (as root); elsewhere: install Python's package for venv."
fi

# Only microphones and speakers need it: without it, everything else works. Wheels for macOS and Windows have it inside.
if [ "$(uname -s)" = Linux ] && ! "$python" -c "
import ctypes.util, sys
sys.exit(ctypes.util.find_library('portaudio') is None)"; then
    apt_install libportaudio2 || say "without PortAudio there are no microphones and speakers; to have them, install" \
        "libportaudio2 (Debian, Ubuntu), portaudio (Fedora, Arch, Alpine)"
fi

# Where there is no wheel of pocketsphinx, pip compiles it.
needs_compiler() {
    case "$version $(uname -s) $(uname -m)" in
        3.11\ * | 3.13\ *) false ;;
        "3.12 Linux x86_64" | 3.12\ Darwin\ *) false ;;
        *) true ;;
    esac
}
can_compile() {
    has cc && has cmake && has make && "$python" -c "
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))"
}
if needs_compiler && ! can_compile; then
    apt_install build-essential cmake "python$version-dev" || apt_install build-essential cmake python3-dev || true
    can_compile || fail \
        "on Python $version ($(uname -m)) pocketsphinx has to be compiled, for which something is missing:" \
        "a C compiler, cmake, or the headers of Python." \
        "Debian and Ubuntu: apt-get install build-essential cmake python$version-dev (as root)" \
        "or use a Python that there are wheels for: PYTHON=python3.13 make ..."
fi

# --- .venv ---

# A .venv of another Python, or one that does not run any more, is of no use.
if [ -e "$venv" ] && [ "$(version_of "$venv/bin/python")" != "$version" ]; then
    rm -rf "$venv"
fi
log=$venv/setup.log
started=$SECONDS
say "installing voxrx[$extras] into $venv, with Python $version ($(command -v "$python")); this takes a minute"
[ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv" || fail "$python could not make $venv"
rm -f "$venv/voxrx-setup"
if ! "$venv/bin/python" -m pip install --editable ".[$extras]" >"$log" 2>&1; then
    tail -n 15 "$log" | sed 's/^/    /' >&2
    fail "pip could not install voxrx[$extras]; all that it said is in $log"
fi
{ fingerprint; echo "$extras"; } >"$venv/voxrx-setup"
say "done in $((SECONDS - started)) s"
