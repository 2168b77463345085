"""Uses real apps in Chromium, behind nginx and authd, and reports what works

Run script/real-apps, which installs what this needs. Prints WORKS or FAILS for each step, and exits
with 0 only if every step works.
"""

import argparse
import asyncio
import os
import pathlib
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from playwright.async_api import TimeoutError, async_playwright

ROOT = pathlib.Path(__file__).resolve().parent.parent
KIT = pathlib.Path(os.environ["AUTHD_REAL_APPS"])
DASHBOARD = "https://coder.example.com"
UPLOAD = 5 << 20

NOTEBOOK = """{"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {},
"outputs": [], "source": []}], "metadata": {"kernelspec": {"display_name": "Python 3", "language":
"python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}"""

STREAMLIT = """
import time
import streamlit as st
st.title("demo")
if st.button("go"):
    for n in range(4):
        st.write(f"part {n}")
        time.sleep(1)
file = st.file_uploader("file")
if file:
    st.write("bytes", len(file.getvalue()))
"""

GRADIO = """
import os, sys, time
import gradio as gr
def parts():
    text = ""
    for n in range(4):
        text += f"part {n}\\n"
        yield text
        time.sleep(1)
with gr.Blocks() as demo:
    gr.Markdown("# demo")
    out = gr.Textbox(label="out", lines=5)
    gr.Button("go").click(parts, None, out)
    file, size = gr.File(label="file"), gr.Textbox(label="size")
    file.upload(lambda f: str(os.path.getsize(f)), file, size)
demo.queue().launch(server_name="127.0.0.1", server_port=int(sys.argv[1]),
                    root_path=sys.argv[2] if sys.argv[2:] else None)
"""

VITE = {
    "index.html": '<!doctype html><title>demo</title><h1>?</h1><script type="module" src="/main.js"></script>',
    "main.js": 'import { text } from "./text.js"\n'
    'const show = text => { document.querySelector("h1").textContent = text }\nshow(text)\n'
    'import.meta.hot.accept("./text.js", changed => show(changed.text))\n',
    "text.js": 'export const text = "demo"\n',
    "vite.config.js": "export default { server: { allowedHosts: true } }\n",
}


class App:
    """An app, reached on a host of its own or below a path"""

    def __init__(self, kind, by_path, folder):
        self.kind, self.by_path = kind, by_path
        self.slug = kind + ("-path" if by_path else "")
        self.folder = folder / self.slug
        self.port = free_port()
        self.base = f"/@alice/dev/apps/{self.slug}" if by_path else ""
        host = f"https://{self.slug}--main--dev--alice.apps.example.com"
        self.address = DASHBOARD + self.base if by_path else host
        # The same proxy without authd
        self.straight = f"https://{self.slug}.direct.example.com"

    def url(self):
        """The address at which the agent serves the app"""
        with_base = self.kind in ("jupyterlab", "streamlit", "vite")
        return f"http://127.0.0.1:{self.port}" + (self.base if with_base else "")

    def link(self):
        """A deep link"""
        paths = {
            "jupyterlab": "/lab/tree/demo.ipynb?reset=1",
            "code-server": f"/?folder={self.folder}",
        }
        return self.address + paths.get(self.kind, "/?deep=a%2Fb&c=%7Bd%7D")

    def command(self):
        """Prepares the app's folder; returns the command that serves the app"""
        self.folder.mkdir()
        port, base, python = str(self.port), self.base, KIT / "py/bin"
        match self.kind:
            case "jupyterlab":
                (self.folder / "demo.ipynb").write_text(NOTEBOOK)
                path = [f"--ServerApp.base_url={base}/"] if base else []
                return [python / "jupyter", "lab", "--allow-root", "--no-browser", "--ip=127.0.0.1",
                        f"--port={port}", f"--ServerApp.root_dir={self.folder}",
                        "--IdentityProvider.token=", "--ServerApp.allow_remote_access=True", *path]
            case "streamlit":
                (self.folder / "app.py").write_text(STREAMLIT)
                path = ["--server.baseUrlPath", base.strip("/")] if base else []
                return [python / "streamlit", "run", self.folder / "app.py", "--server.address",
                        "127.0.0.1", "--server.port", port, "--server.headless", "true",
                        "--browser.gatherUsageStats", "false", *path]
            case "gradio":
                (self.folder / "app.py").write_text(GRADIO)
                return [python / "python", self.folder / "app.py", port, *([base] if base else [])]
            case "vite":
                for name, text in VITE.items():
                    (self.folder / name).write_text(text)
                path = ["--base", base + "/"] if base else []
                return [KIT / "vite/node_modules/.bin/vite", "--host", "127.0.0.1", "--port", port,
                        "--strictPort", *path]
            case _:
                (self.folder / "read.me").write_text("demo\n")
                return ["node", KIT / "code-server/node_modules/code-server", "--auth", "none",
                        "--bind-addr", f"127.0.0.1:{port}", "--disable-telemetry",
                        "--disable-update-check", self.folder]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Stage:
    """All servers, until it is closed"""

    def __init__(self, kinds):
        # Some of the servers give up their rights as root.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="authd-real-apps-"))
        self.folder.chmod(0o755)
        self.apps = [App(kind, by_path, self.folder) for kind in kinds for by_path in (False, True)]
        self.authd, self.nginx = free_port(), free_port()
        self.data = ["--data-dir", self.folder / "data"]
        self.running = []

    def start(self, name, command, cwd=None):
        log = (self.folder / f"{name}.log").open("w")
        environment = os.environ | {"HOME": str(self.folder), "GRADIO_ANALYTICS_ENABLED": "False"}
        environment.pop("PORT", None)
        self.running.append(subprocess.Popen(
            [str(part) for part in command], cwd=cwd, stdout=log, stderr=log, env=environment,
            start_new_session=True))

    def open(self):
        for app in self.apps:
            self.start(app.slug, app.command(), cwd=app.folder)
        self.start("authd", [
            os.environ["AUTHD"], "serve", *self.data, "--listen", f"127.0.0.1:{self.authd}",
            "--access-url", DASHBOARD, "--wildcard-access-url", "*.apps.example.com",
            "--proxy-trusted-origins", "127.0.0.1",
            "--proxy-trusted-headers", "x-forwarded-for"])
        self.wait(self.authd, "/readyz")
        document = self.folder / "deployment.toml"
        document.write_text(self.deployment())
        self.run("import", document)
        (self.folder / "nginx.conf").write_text(self.nginx_conf())
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=coder.example.com", "-keyout", self.folder / "key.pem", "-out",
                        self.folder / "cert.pem"], check=True, stderr=subprocess.DEVNULL)
        self.start("nginx", ["nginx", "-p", self.folder, "-c", self.folder / "nginx.conf", "-e",
                             self.folder / "nginx.err", "-g",
                             f"daemon off; user root; pid {self.folder}/nginx.pid;"])
        for app in self.apps:
            self.wait(app.port, app.base + "/")

    def deployment(self):
        apps = ",\n".join(
            f'{{ slug = "{app.slug}", url = "{app.url()}", subdomain = {str(not app.by_path).lower()} }}'
            for app in self.apps)
        return f"""
organizations = [{{ name = "acme" }}]
users = [{{ username = "alice", organizations = {{ acme = [] }} }}]
templates = [{{ name = "linux", organization = "acme" }}]
[[workspaces]]
name = "dev"
owner = "alice"
organization = "acme"
template = "linux"
[[workspaces.builds]]
number = 1
[[workspaces.builds.agents]]
name = "main"
connected = true
apps = [
{apps}
]
"""

    def nginx_conf(self):
        """The documented file, with TLS, HTTP/2, and each app once more without authd"""
        text = (ROOT / "docs/proxies/alone.nginx.conf").read_text()
        certificate = (f"ssl_certificate {self.folder}/cert.pem; "
                       f"ssl_certificate_key {self.folder}/key.pem;")
        listen = f"listen 127.0.0.1:{self.nginx} ssl http2"
        straight = "".join(f"""
    server {{
        {listen};
        server_name {app.slug}.direct.example.com;
        location / {{
            proxy_pass http://127.0.0.1:{app.port};
            proxy_set_header Host              $http_host;
            proxy_set_header X-Forwarded-Host  $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade           $app_upgrade;
            proxy_set_header Connection        $app_connection;
        }}
    }}""" for app in self.apps)
        for here, there in [
            ("127.0.0.1:8080", f"127.0.0.1:{self.authd}"),
            (r"10\.1\.[0-9]+\.[0-9]+", r"127\.0\.0\.1"),
            ("listen 80", listen),
            ("http {", f"http {{\n    {certificate}"),
            ("access_log /dev/stdout;", f"access_log {self.folder}/access.log;"),
        ]:
            assert here in text, here
            text = text.replace(here, there)
        return text.rstrip().removesuffix("}") + straight + "\n}\n"

    def run(self, *arguments):
        command = [os.environ["AUTHD"], *arguments, *self.data]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{command}: {done.stderr}")
        return done.stdout

    def token(self):
        return self.run("token", "create", "--user", "alice").split()[-1]

    def decisions(self):
        """The number of visits that were decided with the database"""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.authd}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        visits = [line for line in lines if line.startswith("authd_app_visits_total")]
        return sum(int(float(line.split()[-1])) for line in visits)

    def wait(self, port, path):
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if time.monotonic() > until:
                    sys.exit(f"nothing answers on port {port}; logs are in {self.folder}")
                time.sleep(0.3)

    def close(self, keep):
        for process in self.running:
            os.killpg(process.pid, 15)
        for process in self.running:
            process.wait()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


class Visit:
    """A person with a browser of their own, at one app"""

    def __init__(self, stage, app, context, report):
        self.stage, self.app, self.context, self.report = stage, app, context, report
        self.page = None

    async def step(self, what, work):
        started = time.monotonic()
        try:
            note = await work
            self.report(self.app.slug, what, True, f"{time.monotonic() - started:.1f} s {note or ''}")
        except Exception as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            self.report(self.app.slug, what, False, first[0][:200])
            if self.page:
                picture = self.stage.folder / f"{self.app.slug}-{what.replace(' ', '-')}.png"
                await self.page.screenshot(path=picture)

    async def arrive(self):
        """Follows a deep link while signed out, signs in, and comes back to it"""
        self.page = await self.context.new_page()
        seen = []
        self.page.on("framenavigated", lambda frame: seen.append(frame.url))
        await self.page.goto(self.app.link())
        await self.page.fill("#token", self.stage.token())
        await self.page.click("button")
        for _ in range(300):
            if self.app.link() in seen:
                return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"is at {self.page.url}")

    async def use(self, again=False):
        use = {"jupyterlab": self.jupyterlab, "streamlit": self.form, "gradio": self.form,
               "vite": self.vite, "code-server": self.code_server}
        await use[self.app.kind]("after the wait" if again else "")

    async def parts(self):
        """Four parts of an answer, a second apart, are seen one after the other"""
        text = "() => document.body.innerText + [...document.querySelectorAll('textarea')].map(a => a.value)"
        # Of an earlier answer
        for _ in range(100):
            shown = await self.page.evaluate(text)
            if "part 3" not in shown and "part 0" in shown:
                break
            await asyncio.sleep(0.1)
        else:
            raise RuntimeError("no part is seen before the last one")
        await self.page.wait_for_function(f"() => ({text})().includes('part 3')")

    async def jupyterlab(self, when):
        page = self.page

        async def run(code):
            cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
            await cell.click()
            await page.keyboard.press("Control+A")
            await page.keyboard.type(code)
            await page.keyboard.press("Control+Enter")

        async def kernel():
            await page.locator(".jp-Notebook .cm-content").first.wait_for(timeout=90_000)
            for dialog in await page.locator(".jp-Dialog button.jp-mod-accept").all():
                await dialog.click()
            # The cell may be drawn anew while the notebook opens.
            for timeout in (10_000, 10_000, 30_000):
                await run("print(6 * 7)")
                try:
                    shown = page.locator(".jp-OutputArea-output", has_text="42").first
                    return await shown.wait_for(timeout=timeout)
                except TimeoutError:
                    pass
            raise RuntimeError("no output is shown")

        async def stream():
            await run("import time; [(print('part', n), time.sleep(1)) for n in range(4)][0][1]")
            await self.parts()

        async def upload(file):
            async with page.expect_file_chooser() as chooser:
                await page.locator('jp-button[title*="Upload" i], .jp-FileBrowser-toolbar [title*="Upload" i]').first.click()
            await (await chooser.value).set_files(file)
            stored = self.app.folder / file.name
            for _ in range(200):
                if stored.exists() and stored.stat().st_size == UPLOAD:
                    return
                await asyncio.sleep(0.1)
            raise RuntimeError("the file does not arrive")

        await self.step(f"kernel {when}", kernel())
        await self.step(f"stream {when}", stream())
        if not when:
            await self.step("upload", upload(self.stage.folder / "upload.bin"))

    async def form(self, when):
        """Streamlit or Gradio"""
        page = self.page

        async def stream():
            await page.get_by_role("button", name="go", exact=True).click(timeout=60_000)
            if when:
                await page.wait_for_function("() => !document.body.innerText.includes('part 3')")
            await self.parts()

        async def upload():
            await page.locator("input[type=file]").first.set_input_files(self.stage.folder / "upload.bin")
            if self.app.kind == "gradio":
                size = page.get_by_label("size")
                for _ in range(300):
                    if await size.input_value() == str(UPLOAD):
                        return
                    await asyncio.sleep(0.1)
                raise RuntimeError("the file does not arrive")
            await page.get_by_text(str(UPLOAD)).first.wait_for()

        await self.step(f"stream {when}", stream())
        if not when:
            await self.step("upload", upload())

    async def vite(self, when):
        page = self.page

        async def update():
            await page.locator("h1").filter(has_not_text="?").wait_for()
            await page.evaluate("window.same = true")
            changed = f"changed {time.time()}"
            (self.app.folder / "text.js").write_text(f'export const text = "{changed}"\n')
            await page.locator("h1", has_text=changed).wait_for()
            assert await page.evaluate("window.same"), "the page was loaded again"

        await self.step(f"update in place {when}", update())

    async def code_server(self, when):
        page, name = self.page, f"made{int(time.time())}"

        async def terminal():
            await page.locator(".monaco-workbench .explorer-viewlet").first.wait_for(timeout=90_000)
            trust = page.get_by_text("Yes, I trust the authors")
            if not when:
                try:
                    await trust.first.click(timeout=10_000)
                except Exception:
                    pass
                await page.keyboard.press("Control+Shift+Backquote")
            await page.locator(".xterm-screen").locator("visible=true").first.click(timeout=60_000)
            await asyncio.sleep(2)
            await page.keyboard.type(f"touch {name}\n", delay=20)
            await page.locator(".explorer-viewlet .monaco-list-row", has_text=name).first.wait_for()

        await self.step(f"terminal {when}", terminal())

    async def sign_out(self):
        page = await self.context.new_page()
        await page.goto(DASHBOARD)
        await page.click("button")
        await page.locator("#token").wait_for()
        await page.close()

    async def session_ends(self):
        """A script of the page is answered that the session has ended"""
        seen = await self.page.evaluate("""async () => {
            const until = Date.now() + 80_000
            while (Date.now() < until) {
                try {
                    const answer = await fetch(location.pathname, { cache: 'no-store' })
                    if (answer.status == 401) return (await answer.json()).message
                } catch (error) { return `a network error: ${error}` }
                await new Promise(done => setTimeout(done, 1000))
            }
            return 'nothing'
        }""")
        assert "signed out" in seen, f"the page sees {seen}"


async def load_time(stage, browser, app, rounds, report):
    """The load time of a page with an empty cache, through authd and straight, in alternating rounds"""
    first = await browser.new_context(ignore_https_errors=True)
    visit = Visit(stage, app, first, report)
    await visit.arrive()
    state = await first.storage_state()
    state["cookies"] = [c for c in state["cookies"] if "signed_app_token" not in c["name"]]
    await first.close()
    times, decided = {True: [], False: []}, []
    suffix = app.link().removeprefix(app.address)
    for _ in range(rounds):
        for through in (False, True):
            context = await browser.new_context(ignore_https_errors=True, storage_state=state)
            page, before = await context.new_page(), stage.decisions()
            base = app.address if through else app.straight + app.base
            await page.goto(base + suffix, wait_until="load")
            await asyncio.sleep(3)
            times[through].append(await page.evaluate("""() => Math.max(
                performance.getEntriesByType('navigation')[0].loadEventEnd,
                ...performance.getEntriesByType('resource').map(r => r.responseEnd).filter(t => t < 3000))"""))
            if through:
                decided.append(stage.decisions() - before)
            await context.close()
    straight, through = statistics.median(times[False]), statistics.median(times[True])
    note = f"{straight:.0f} ms straight, {through:.0f} ms with authd ({through / straight - 1:+.1%})"
    # Of a short time, a few percent are less than what two runs differ by.
    report(app.slug, "load time", through <= max(straight * 1.03, straight + 30), note)
    report(app.slug, "decisions", set(decided) == {1}, f"{decided} for each page load")


async def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", nargs="*", metavar="APP", help="jupyterlab, streamlit, gradio, vite, code-server")
    options.add_argument("--open", type=int, default=180, metavar="SECONDS", help="how long pages stay open [180]")
    options.add_argument("--rounds", type=int, default=5, help="rounds of the load time; 0 for none [5]")
    options.add_argument("--keep", action="store_true", help="keep logs and pictures")
    options = options.parse_args()
    kinds = ["jupyterlab", "streamlit", "gradio"]
    kinds += ["vite"] if (KIT / "vite/node_modules/vite").exists() else []
    kinds += ["code-server"] if (KIT / "code-server/installed").exists() else []
    stage = Stage([kind for kind in kinds if not options.only or kind in options.only])
    failures = []

    def report(slug, what, works, note):
        print(f"{'WORKS' if works else 'FAILS'}  {slug:16} {what.strip():24} {note}", flush=True)
        if not works:
            failures.append((slug, what))

    try:
        stage.open()
        (stage.folder / "upload.bin").write_bytes(os.urandom(UPLOAD))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[
                "--no-sandbox", "--disable-gpu",
                f"--host-resolver-rules=MAP *.example.com:443 127.0.0.1:{stage.nginx}"])
            visits = []
            for app in stage.apps:
                context = await browser.new_context(ignore_https_errors=True)
                context.set_default_timeout(30_000)
                visits.append(Visit(stage, app, context, report))
            # One after the other, so that a slow machine is not taken for a broken app.
            for visit in visits:
                await visit.step("link, sign-in, back", visit.arrive())
                await visit.use()
            print(f"pages stay open for {options.open} seconds", flush=True)
            await asyncio.sleep(options.open)
            for visit in visits:
                await visit.use(again=True)
            for visit in visits:
                await visit.step("sign-out", visit.sign_out())
            await asyncio.gather(*[visit.step("session end is seen", visit.session_ends()) for visit in visits])
            for visit in visits:
                await visit.context.close()
            if options.rounds:
                for app in stage.apps:
                    if not app.by_path:
                        await load_time(stage, browser, app, options.rounds, report)
            await browser.close()
    finally:
        stage.close(options.keep or failures)
    if failures:
        print(f"{len(failures)} steps fail; logs and pictures are in {stage.folder}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    asyncio.run(main())
