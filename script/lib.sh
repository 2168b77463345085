# Sourced by the other scripts: finds out what the machine lacks and installs it.

# Debian packages that the build and the tests need, each with what proves that
# something equal is already there.
needed() {
    # Not for the tests: a script that runs Python sets it.
    [ -z "${wants_python:-}" ] || python3 -c 'import ensurepip, venv' 2>/dev/null ||
        echo python3-venv
    command -v cc >/dev/null 2>&1 || echo gcc libc6-dev
    command -v pkg-config >/dev/null 2>&1 || echo pkg-config
    pkg-config --exists openssl >/dev/null 2>&1 || echo libssl-dev
    find_postgres || echo postgresql
    # What some tests drive, and leave out where it is missing.
    [ -n "${AUTHD_REQUIRE_PROGRAMS:-}" ] || return 0
    [ -x /usr/sbin/nginx ] || echo nginx
    command -v caddy >/dev/null 2>&1 || echo caddy
    command -v chromium >/dev/null 2>&1 || echo chromium
    command -v chromedriver >/dev/null 2>&1 || echo chromium-driver
    command -v ip >/dev/null 2>&1 || echo iproute2
    command -v systemd-analyze >/dev/null 2>&1 || echo systemd
}

# A server, not only the client.
find_postgres() {
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return 0
    done
    command -v initdb >/dev/null 2>&1
}

ensure_packages() {
    packages=$(needed | tr '\n' ' ')
    [ -z "$packages" ] && return 0
    install="apt-get install -y --no-install-recommends $packages"
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Missing, under whatever names your system has for them: $packages" >&2
        echo "Install them and run this again." >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        run=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        run=sudo
    else
        echo "Missing system packages. Run this line, then this command again:" >&2
        echo "    sudo apt-get update && sudo $install" >&2
        exit 1
    fi
    echo "Installing $packages" >&2
    # The server package would otherwise create and start a database cluster of its
    # own. authd starts the ones it needs.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        $run mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" |
            $run tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    $run apt-get update -q >&2 || true
    # shellcheck disable=SC2086 # word splitting is what separates the packages
    $run env DEBIAN_FRONTEND=noninteractive $install >&2 || {
        echo "Could not install them. Try this line, then this command again:" >&2
        echo "    apt-get update && $install" >&2
        exit 1
    }
}

ensure_cargo() {
    command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null 2>&1; then
        echo "Rust is missing. Install it from https://rustup.rs, then run this again." >&2
        exit 1
    fi
}
