#!/bin/sh
# Make a virtual environment with this package in it: setup.sh FOLDER EXTRA
set -eu

venv=$1
extra=$2
python=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is needed; \"$python\" is $("$python" --version 2>&1 || true). Try: make … PYTHON=python3.12"

if [ ! -x "$venv/bin/pip" ]; then
    # Debian and Ubuntu ship the standard library's venv in a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        [ "$(id -u)" = 0 ] && sudo= || sudo="sudo -n"
        echo "Installing $version"
        { $sudo apt-get update && $sudo apt-get install -y "$version"; } >/dev/null 2>&1 ||
            fail "the module venv is missing; install it with: apt-get install $version"
    fi
    echo "Creating the virtual environment $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
echo "Installing celery_workerpool with what \"$extra\" needs into $venv"
"$venv/bin/pip" install --quiet --quiet --disable-pip-version-check --editable ".[$extra]" ||
    fail "pip could not install the dependencies"
