"""Installs authd's Debian package in a bare Debian, uses it, upgrades it and purges it.

Run by script/check-packages in mount and process namespaces of its own, with the folder for the
bare Debian, and the package. systemd does not run there. Its part is played here: the server is
started as the unit says, with a socket for its notifications.
"""
import contextlib
import ctypes
import http.client
import http.server
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(sys.argv[1])
PACKAGE = pathlib.Path(sys.argv[2])
NAME = "authd-edge"
HOST = "code--main--dev--alice.apps.example.com"
CHROOT = shutil.which("chroot")
QUIET = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
# Of systems that package managers write to, and of running programs
IGNORED = ("dev", "proc", "run", "sys", "tmp", "var/cache", "var/lib/apt", "var/lib/dpkg", "var/log")


def say(text):
    print(f"  {time.monotonic() - BEGAN:3.0f} s  {text}", flush=True)


def run(*command, **options):
    done = subprocess.run(command, **(QUIET | options))
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr or ''}")
    return done.stdout


def inside(*command, user="root", **options):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/",
                   "DEBIAN_FRONTEND": "noninteractive"}
    return run(CHROOT, f"--userspec={user}", str(ROOT), *command, env=environment, **options)


def authd(*arguments):
    """A command, as docs/deploying.md says"""
    return inside("authd", *arguments, "--config", "/etc/authd/authd.toml", user="authd:authd",
                  # Which database it uses, and the log.
                  stderr=subprocess.PIPE)


def install(*packages):
    inside("apt-get", "install", "--yes", "--no-install-recommends",
           "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-unsafe-io",
           *packages)


def expect(condition, text):
    if not condition:
        sys.exit(f"not so: {text}")
    say(text)


def make_root():
    run("mount", "-t", "tmpfs", "-o", "size=3g,mode=0755", "tmpfs", str(ROOT))
    suite = re.search("^VERSION_CODENAME=(.*)$", pathlib.Path("/etc/os-release").read_text(), re.M)
    run("mmdebstrap", "--mode=root", "--variant=minbase", "--skip=cleanup/apt",
        "--aptopt=Acquire::Languages none", "--dpkgopt=force-unsafe-io", suite[1], str(ROOT))
    shutil.copy("/etc/resolv.conf", ROOT / "etc/resolv.conf")
    run("mount", "-t", "proc", "proc", str(ROOT / "proc"))
    # Packages do not start what they install: the units are started here.
    policy = ROOT / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


def leave_network():
    """From here on, every port is free, and nothing outside can be reached"""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:  # CLONE_NEWNET
        sys.exit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    run("ip", "link", "set", "lo", "up")


def documented(document, count, folder="/"):
    """The marked blocks of a document, each as a function that runs it"""
    text = pathlib.Path("docs", document).read_text()
    blocks = re.findall(r"<!-- script/check-packages runs this block. -->\n```sh\n(.*?)```", text, re.DOTALL)
    if len(blocks) != count:
        sys.exit(f"{len(blocks)} blocks in docs/{document} are marked")
    # systemctl does nothing here, and says so.
    return [lambda block=block: inside("bash", "-euxo", "pipefail", "-c", f"cd {folder}\n{block}")
            for block in blocks]


def files():
    """Every file of the system, with owner and mode; and with the text of those in /etc"""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        inner = os.path.relpath(folder, ROOT)
        folders[:] = [f for f in folders if os.path.normpath(f"{inner}/{f}") not in IGNORED]
        for name in folders + names:
            path = pathlib.Path(folder, name)
            status = path.lstat()
            text = path.read_bytes() if inner.startswith("etc") and path.is_file() else b""
            found[str(path.relative_to(ROOT))] = (status.st_mode, status.st_uid, status.st_gid, text)
    return found


class Daemon:
    """Another server, started as its unit says"""

    def __init__(self, name):
        unit = (ROOT / f"usr/lib/systemd/system/{name}.service")
        if not unit.exists():
            unit = ROOT / f"lib/systemd/system/{name}.service"
        setting = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
        command = shlex.split(setting["ExecStart"].replace("$ARGS", "").replace("daemon on", "daemon off"))
        self.process = subprocess.Popen(
            [CHROOT, f"--userspec={setting.get('User', 'root')}", str(ROOT), *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


class App(http.server.BaseHTTPRequestHandler):
    """The server that reaches agents, which names the app that it is asked for"""

    def do_GET(self):
        text = f"<title>app</title><h1>{self.headers['X-Authd-App-Url']}</h1>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Browser:
    """Headless Chromium, which finds example.com on this machine"""

    def __init__(self, folder):
        self.port = free_port()
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--host-resolver-rules=MAP *.example.com 127.0.0.1", f"--user-data-dir={folder}"]
        capabilities = {"alwaysMatch": {"acceptInsecureCerts": True, "goog:chromeOptions": {"args": flags}}}
        wait_until("chromedriver answers", lambda: self.call("GET", "/status"))
        self.session = f"/session/{self.call('POST', '/session', {'capabilities': capabilities})['sessionId']}"

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body and json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            sys.exit(f"{method} {path}: {value['message']}")
        return value

    def open(self, url):
        self.call("POST", f"{self.session}/url", {"url": url})

    def text(self):
        script = {"script": "return document.body.innerText", "args": []}
        return self.call("POST", f"{self.session}/execute/sync", script) or ""

    def type(self, selector, text):
        found = self.call("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        self.call("POST", f"{self.session}/element/{element}/value", {"text": text})

    def close(self):
        self.call("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait(timeout=60)


def wait_until(text, is_so, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            if found := is_so():
                return found
        # Not there yet, or an answer that is not JSON, such as Prometheus gives while it starts
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            sys.exit(f"not so after {seconds} s: {text}")
        time.sleep(0.2)


class Server:
    """The server, started as its unit says"""

    def __init__(self, port):
        self.port = port
        unit = (ROOT / "usr/lib/systemd/system/authd.service").read_text()
        setting = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
        address = ROOT / "run/notify"
        address.unlink(missing_ok=True)
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(address))
        self.notifications.settimeout(60)
        address.chmod(0o777)
        environment = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "3000000",
                       "PATH": "/usr/bin:/bin", "HOME": "/var/lib/authd", "USER": setting["User"]}
        # A file, because a pipe that is not read becomes full, and an alert fires for lines that are lost.
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [CHROOT, f"--userspec={setting['User']}:{setting['Group']}", str(ROOT),
             *shlex.split(setting["ExecStart"])], env=environment, stderr=self.log)

    def wait_for(self, state):
        while True:
            try:
                if state in self.notifications.recv(4096).decode():
                    return
            except TimeoutError:
                self.process.kill()
                self.fail(f"no {state}")

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()

    def stop(self):
        self.process.terminate()
        self.wait_for("STOPPING=1")
        if self.process.wait(timeout=60) != 0:
            self.fail(f"stopped with {self.process.returncode}")

    def fail(self, text):
        self.log.seek(0)
        sys.exit(f"{text}:\n{self.log.read()}")


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def newer():
    """The same package with a higher version, another unit, and another example of settings"""
    unpacked = ROOT.parent / "newer"
    run("dpkg-deb", "--raw-extract", str(PACKAGE), str(unpacked))
    for name, old, new in [
        ("DEBIAN/control", r"^(Version: .*)$", r"\1+newer"),
        ("usr/lib/systemd/system/authd.service", r"^RestartSec=.*$", "RestartSec=6"),
        ("etc/authd/authd.toml", r"\Z", "# newer\n"),
    ]:
        path = unpacked / name
        path.write_text(re.sub(old, new, path.read_text(), count=1, flags=re.MULTILINE))
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(unpacked),
        str(ROOT / "tmp/newer.deb"))


def check_installed():
    units = ["/usr/lib/systemd/system/authd.service", "/usr/lib/systemd/system/authd.socket"]
    complaints = inside("systemd-analyze", "verify", *units)
    expect(complaints == "", f"systemd accepts the units {complaints}")
    # Fails above the threshold, which is ten times the exposure.
    rating = inside("systemd-analyze", "security", "--offline=true", "--threshold=15", "authd.service")
    exposure = re.search(r"exposure level for authd.service: (\S+)", rating)[1]
    text = f"exposure as {exposure} of 10"
    expect(text in pathlib.Path("docs/deploying.md").read_text(), f"systemd rates the {text}")
    rights = inside("stat", "-c", "%a %U:%G", "/etc/authd/authd.toml", "/var/lib/authd")
    expect(rights.split("\n")[:2] == ["640 root:authd", "700 authd:authd"], "only authd reads its files")
    expect(not list(ROOT.glob("etc/systemd/system/*/authd*")), "nothing was enabled")
    completions = ["bash-completion/completions/authd", "zsh/vendor-completions/_authd",
                   "fish/vendor_completions.d/authd.fish"]
    pages = [f"man/man1/{page}.1.gz" for page in ["authd", "authd-serve", "authd-audit-list"]]
    missing = [path for path in pages + completions if not (ROOT / "usr/share" / path).is_file()]
    expect(not missing, f"manual pages and completions are installed {missing}")


def check_use(server, token):
    status, headers, _ = server.ask("POST", "/login", f"token={token}&redirect=/",
                                    Content_Type="application/x-www-form-urlencoded")
    expect(status == 303 and "set-cookie" in headers, "alice signs in")
    headers = {"X_Forwarded_Host": HOST, "X_Forwarded_Uri": "/", "X_Forwarded_For": "192.0.2.7"}
    path = "/api/v2/forward-auth/traefik"
    status, allowed, _ = server.ask("GET", path, Coder_Session_Token=token, **headers)
    expect((status, allowed.get("x-authd-app-url")) == (200, "http://127.0.0.1:13337"),
           "alice opens an app")
    status, _, _ = server.ask("GET", path, **headers)
    expect(status in (303, 401), "a visitor who is signed out does not")
    status, _, text = server.ask("POST", "/api/v2/workspaceagents/aws-instance-identity",
                                 '{"document": "{}", "signature": "AAAA"}')
    expect(status == 401 and "message" in text, "a forged proof is refused")


def visits(server):
    """Those in the audit log, once the server has written all of them"""
    wait_until("the visits are recorded", lambda: "\nauthd_audit_queued_events 0\n" in server.ask("GET", "/metrics")[2])
    return [json.loads(line) for line in authd("audit", "list", "--json").splitlines()]


def signed_in(user):
    """A browser whose user pasted a token into authd's page"""
    browser = Browser(ROOT.parent / f"browser-{user}")
    browser.open("https://coder.example.com/")
    wait_until("the browser is asked to sign in", lambda: "session token" in browser.text())
    token = authd("token", "create", "--user", user).strip()
    browser.type("input[name=token]", token + "\ue007")
    wait_until(f"{user} is signed in", lambda: "Sign out" in browser.text())
    return browser


def check_first_hour():
    """The blocks of docs/operations.md, one after the other"""
    install_all, start, fill, front, scrape = documented("operations.md", 5, "/root")
    shutil.copy(PACKAGE, ROOT / "root" / PACKAGE.name)
    install_all()
    start()
    server = Server(8080)
    server.wait_for("READY=1")
    fill()
    front()
    nginx = Daemon("nginx")
    app = http.server.ThreadingHTTPServer(("127.0.0.1", 9000), App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    wait_until("nginx listens", lambda: socket.create_connection(("127.0.0.1", 443)).close() is None)

    alice = signed_in("alice")
    # The name of her other app, `code`, is part of the deployment's host.
    expect("preview" in alice.text(), "alice signs in behind nginx with TLS, and sees her apps")
    alice.open(f"https://{HOST}/")
    wait_until("the app opens", lambda: "http://127.0.0.1:13337" in alice.text())
    say("a browser opens an app")
    alice.close()
    root = signed_in("root")

    def audit_log(query):
        root.open(f"https://coder.example.com/audit?{query}")
        return root.text()

    wait_until("the audit log shows the visit", lambda: "alice/dev" in audit_log("user=alice&decision=allow"))
    # Among all acts there is also the token that was created for alice.
    wait_until("the audit log shows the log-in", lambda: "alice" in audit_log("kind=log_in"))
    say("the audit log shows the visit and the log-in")
    root.close()

    scrape()
    prometheus = Daemon("prometheus")

    def ask(path):
        connection = http.client.HTTPConnection("127.0.0.1", 9090, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())["data"]

    wait_until("Prometheus scrapes authd",
               lambda: [sample["value"][1] for sample in ask("/api/v1/query?query=authd_ready")["result"]] == ["1"], 120)
    rules = wait_until("Prometheus evaluates the alerts", lambda: [
        rule for group in ask("/api/v1/rules")["groups"] for rule in group["rules"]
        if all(rule["health"] != "unknown" for rule in group["rules"])], 120)
    wrong = [rule["name"] for rule in rules if rule["health"] != "ok" or rule["state"] == "firing"]
    expect(not wrong, f"Prometheus evaluates {len(rules)} alerts, and none fires {wrong}")
    prometheus.stop()
    nginx.stop()
    app.shutdown()
    server.stop()
    inside("dpkg", "--purge", NAME)
    # What the blocks wrote, and no package
    for path in ["etc/prometheus/authd-alerts.yml", "etc/ssl/private/authd.key", "etc/ssl/certs/authd.pem"]:
        (ROOT / path).unlink()
    (ROOT / "root" / PACKAGE.name).unlink()


def check_read_only():
    """The program as in a container: a read-only file system, and a user without a name"""
    run("mount", "-o", "remount,ro", str(ROOT))
    port, admin = free_port(), free_port()
    environment = {"AUTHD_STORE": "memory", "AUTHD_LISTEN": f"127.0.0.1:{port}",
                   "AUTHD_ADMIN_LISTEN": f"127.0.0.1:{admin}"}
    process = subprocess.Popen([CHROOT, "--userspec=10001:10001", str(ROOT), "/usr/bin/authd", "serve"],
                               env=environment, stderr=subprocess.PIPE, text=True)
    # It is ready once it says so.
    for line in process.stderr:
        if "listening" in line and "admin" in line:
            break
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=20)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    process.terminate()
    rest = process.communicate(timeout=60)[1]
    expect((status, process.returncode) == (200, 0), f"serves from a read-only file system {rest * (status != 200)}")
    run("mount", "-o", "remount,rw", str(ROOT))


def main():
    make_root()
    say("a bare Debian")
    shutil.copy(PACKAGE, ROOT / "tmp/authd.deb")
    install("--download-only", "/tmp/authd.deb", "postgresql", "nginx", "openssl", "prometheus")
    leave_network()
    check_first_hour()
    install("/tmp/authd.deb")
    say("installed")
    check_installed()
    inside("dpkg", "--purge", NAME)
    bare = files()
    left = [path for path in bare if "authd" in path]
    expect(not left and "authd" not in (ROOT / "etc/passwd").read_text(),
           f"purged at once, and nothing is left {left}")

    install("/tmp/authd.deb")
    port = free_port()
    settings = ROOT / "etc/authd/authd.toml"
    settings.write_text(settings.read_text() + f'''
listen = "127.0.0.1:{port}"
access_url = "https://coder.example.com"
wildcard_access_url = "*.apps.example.com"
proxy_trusted_origins = ["127.0.0.1"]
proxy_trusted_headers = ["x-forwarded-for"]
''')
    inside("systemctl", "enable", "authd.service", "authd.socket")
    server = Server(port)
    server.wait_for("READY=1")
    server.wait_for("WATCHDOG=1")
    say("started as its user, with a private database, and watched")
    authd("import", "/usr/share/doc/authd-edge/examples/deployment.toml")
    authd("check")
    token = authd("token", "create", "--user", "alice").strip()
    check_use(server, token)
    before = visits(server)
    expect({row["decision"] for row in before} == {"allow", "deny"}, "both visits are in the audit log")

    newer()
    install("/tmp/newer.deb")
    version = inside("dpkg-query", "--show", "--showformat", "${Version}", NAME)
    expect(version.endswith("+newer"), f"upgraded to {version} while it runs")
    expect(f"127.0.0.1:{port}" in settings.read_text() and "# newer" not in settings.read_text(),
           "the settings are as before")
    server.stop()
    server = Server(port)
    server.wait_for("READY=1")
    check_use(server, token)
    expect(len(visits(server)) >= len(before), "started again, with the same data")

    before = visits(server)
    back_up, restore = documented("deploying.md", 2)
    back_up()
    server.stop()
    restore()
    install("--allow-downgrades", "/tmp/authd.deb")
    server = Server(port)
    server.wait_for("READY=1")
    expect(visits(server) == before, "backed up and restored into a new folder, and rolled back")
    check_use(server, token)
    server.stop()
    shutil.rmtree(ROOT / "var/lib/authd.before")
    (ROOT / "root/authd.dump").unlink()
    check_read_only()

    inside("dpkg", "--remove", NAME)
    expect(settings.exists() and (ROOT / "var/lib/authd/data").exists() and
           not (ROOT / "usr/bin/authd").exists(), "removed, without settings and data")
    inside("dpkg", "--purge", NAME)
    after = files()
    differences = sorted(path for path in bare.keys() | after.keys() if bare.get(path) != after.get(path))
    expect(not differences, f"purged, and nothing is left {differences}")


BEGAN = time.monotonic()
main()
