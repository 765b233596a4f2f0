# Sourced by the scripts beside it: finds a Python, makes a virtual environment, installs into it, and explains what
# it cannot do. Progress goes to standard error, so that standard output stays data.

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf '\n%s\n' "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 3
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE...: installs the distribution's packages, as root only. 1 if that failed, and says why.
apt_install() {
    local log
    log=$(mktemp)
    say "Installing from the distribution: $*"
    if { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        return 0
    fi
    say "apt-get failed:"
    tail -n 5 "$log" | sed 's/^/    /' >&2
    rm -f "$log"
    return 1
}

# find_python: prints the first Python of 3.10 or later. PYTHON in the environment goes first.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    return 1
}

# base_python: prints a Python that can make virtual environments; installs what is missing as root, else names it.
base_python() {
    local python package
    python=$(find_python) || {
        if can_apt && apt_install python3 python3-venv; then python=$(find_python); fi
        [ -n "$python" ] || fail "Python 3.10 or later is needed. On Debian, Ubuntu and Raspberry Pi OS:" \
            "sudo apt install python3 python3-venv"
    }
    if ! "$python" -c 'from ensurepip import bootstrap; import venv' 2>/dev/null; then
        package=python3-venv
        [ "$python" = /usr/bin/python3 ] || package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        { can_apt && apt_install "$package" && "$python" -c 'from ensurepip import bootstrap; import venv' 2>/dev/null; } ||
            fail "$python has no venv module. Install it, then run this again:" "sudo apt install $package"
    fi
    printf '%s\n' "$python"
}

# make_venv DIRECTORY: a virtual environment there, unless a working one is.
make_venv() {
    local python
    "$1/bin/python" -c 'import pip' 2>/dev/null && return 0
    python=$(base_python) || exit $?
    say "Making a virtual environment in $1 with $("$python" --version)"
    rm -rf "$1"
    "$python" -m venv "$1" || fail "The virtual environment could not be made in $1 (see above)."
}

# pip_install VENV ARGUMENT...: pip with one short line a package instead of a wall of text.
pip_install() {
    local venv=$1 log
    shift
    log=$(mktemp)
    if ! (
        set -o pipefail
        "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@" 2>&1 </dev/null |
            tee "$log" | awk '/^ *Downloading [^ ]+\.whl/ { sub(/-(cp|py)[0-9].*whl/, "", $2); n = split($2, part, "/");
                print "    " part[n] " " $3 $4; fflush() }' >&2
    ); then
        say "pip failed:"
        grep -E '^(ERROR|error|  error)|No matching|Temporary failure|No space' "$log" | tail -n 8 | sed 's/^/    /' >&2
        rm -f "$log"
        fail "The packages could not be installed. Is the package index reachable, and is there room on the disk?" \
            "$(printf '%q ' "$venv/bin/python" -m pip install "$@")"
    fi
    rm -f "$log"
}

# install_once VENV NAME FILE ARGUMENT...: pip_install, unless NAME was installed into this VENV before, with the same
# FILE (which lists what is needed), the same Python and in the same place.
install_once() {
    local venv=$1 stamp=$1/installed-$2 list=$3 key
    shift 3
    key=$({ "$venv/bin/python" --version; printf '%s\n' "$venv"; cat "$list"; } | sha256sum)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && return 0
    say "Installing what is needed into ${venv##*/} (once; on a small board this takes some minutes)"
    pip_install "$venv" "$@"
    printf '%s\n' "$key" >"$stamp"
}

# lock_holds VENV LOCK: whether LOCK is there and has digests for this Python, processor and C library.
lock_holds() {
    [ -f "$2" ] && "$1/bin/python" -c 'import platform, re, sys
libc, version = platform.libc_ver()
newer = libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
known = platform.machine() in ("x86_64", "aarch64") and sys.maxsize > 2**32
first, last = (tuple(map(int, each)) for each in re.findall(r"(3)\.(\d+)", open(sys.argv[1]).readline()))
sys.exit(not (newer and known and first <= sys.version_info[:2] <= last))' "$2"
}

# install_list VENV NAME LIST: what LIST.txt names, with the versions and digests of LIST.lock where there are such.
install_list() {
    local venv=$1 name=$2 list=$3 lock=${3%.txt}.lock
    if lock_holds "$venv" "$lock"; then
        install_once "$venv" "$name" "$lock" --require-hashes --only-binary :all: --no-deps --requirement "$lock"
    else
        install_once "$venv" "$name" "$list" --requirement "$list"
    fi
}

# install_product ROOT [EXTRA]: this checkout, editable, in ROOT/.venv; one with development tools has all of it.
install_product() {
    local root=$1 extra=${2:-} lock
    make_venv "$root/.venv"
    [ -n "$extra" ] || [ ! -f "$root/.venv/installed-dev" ] || extra=dev
    lock=$root/scripts/$extra.lock
    [ -n "$extra" ] || lock=$root/deploy/requirements.lock
    if lock_holds "$root/.venv" "$lock"; then
        install_once "$root/.venv" "${extra:-plain}-packages" "$lock" \
            --require-hashes --only-binary :all: --no-deps --requirement "$lock"
        install_once "$root/.venv" "${extra:-plain}" "$root/pyproject.toml" --no-deps --no-build-isolation --editable "$root"
    else
        install_once "$root/.venv" "${extra:-plain}" "$root/pyproject.toml" --editable "$root${extra:+[$extra]}"
    fi
    # The rooms may not write into the program: what nobody has compiled they would compile at each start.
    "$root/.venv/bin/python" -m compileall -q "$root/edge_infer"
}

# make_model_venv ROOT: ROOT/.venv-model with the tools that quantize models, apart from the product's own packages.
make_model_venv() {
    make_venv "$1/.venv-model"
    install_list "$1/.venv-model" tools "$1/scripts/default_model.txt"
}

# make_ansible_venv ROOT: ROOT/.venv-ansible with the program that runs deploy/ansible in a test, apart from everything else.
make_ansible_venv() {
    make_venv "$1/.venv-ansible"
    install_list "$1/.venv-ansible" ansible "$1/tests/deploy/ansible.txt"
}
