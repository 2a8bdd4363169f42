#!/bin/sh
# Make a virtual environment with this package in it: setup.sh FOLDER EXTRA
# Without EXTRA, see only whether a folder that is there was made with $PYTHON.
set -eu

venv=$1
extra=${2:-}
python=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

needed="Python 3.11 or newer is needed, for example: make … PYTHON=python3.12"
command -v "$python" >/dev/null || fail "there is no $python. $needed"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail "$python does not run. $needed"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is Python $version. $needed"

describe() {
    "$1" -c 'import sys; print(sys.version.split()[0], "of", sys.base_prefix)'
}

if [ -z "$extra" ]; then
    [ -x "$venv/bin/python" ] || exit 0
    asked=$(describe "$python")
    there=$(describe "$venv/bin/python") || there="that does not run"
    [ "$asked" = "$there" ] ||
        fail "$venv has Python $there, not $asked: make clean first, or choose VENV=folder"
    exit 0
fi

trap 'echo "setup: stopped; the next make goes on" >&2; exit 130' INT
if [ ! -x "$venv/bin/pip" ]; then
    # Debian and Ubuntu ship the standard library's venv in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=python$version-venv
        [ "$(id -u)" = 0 ] && sudo= || sudo="sudo -n"
        echo "Installing $package"
        { $sudo apt-get update && $sudo apt-get install -y "$package"; } >/dev/null 2>&1 ||
            fail "the module venv is missing; install it with: apt-get install $package"
    fi
    echo "Creating the virtual environment $venv"
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        rmdir "$venv" 2>/dev/null || fail "$venv exists and is no virtual environment; remove it"
    fi
    rm -rf "$venv"
    # What it says is shown only if it fails: after Ctrl-C it is a traceback.
    said=$("$python" -m venv "$venv" 2>&1) || fail "$venv could not be made: $said"
fi
echo "Installing celery_workerpool with what \"$extra\" needs into $venv;" \
    "pip downloads it, and says nothing for a minute or more"
"$venv/bin/pip" install --quiet --quiet --disable-pip-version-check --editable ".[$extra]" ||
    fail "pip could not install the dependencies"
