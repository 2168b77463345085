//! A real browser, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>)

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};
use testkit::net::{Client, free_address};

/// Headless Chromium behind Debian's `chromedriver`
pub struct Browser {
    client: Client,
    session: String,
    driver: Child,
}

impl Browser {
    /// Starts a browser that resolves every host name to this machine
    ///
    /// Returns `None` if Chromium or its driver is not installed.
    pub async fn start() -> Option<Self> {
        let binary = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())?;
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let client = Client::new();
        let base = format!("http://127.0.0.1:{port}");
        let options = json!({ "binary": binary, "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--window-size=1000,700",
            "--host-resolver-rules=MAP * 127.0.0.1", "--ignore-certificate-errors",
        ]});
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options, "timeouts": { "pageLoad": 20_000, "script": 20_000 },
        }}});
        let mut browser = Self { client, session: format!("{base}/session"), driver };
        for _ in 0..100 {
            let asked = browser.client.post_json(&browser.session, capabilities.to_string()).await;
            if let Ok(answer) = asked {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                let id = body["value"]["sessionId"].as_str();
                let id = id.unwrap_or_else(|| panic!("no browser: {body}"));
                browser.session = format!("{base}/session/{id}");
                return Some(browser);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("chromedriver does not answer")
    }

    /// Opens a page and waits until it is loaded, after all redirects
    pub async fn open(&self, url: &str) {
        self.command(Method::POST, "/url", json!({ "url": url })).await;
    }

    /// The address of the current page
    pub async fn url(&self) -> String {
        self.command(Method::GET, "/url", Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Runs a script in the page and returns its result
    pub async fn script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.command(Method::POST, "/execute/sync", body).await
    }

    /// Runs a script that calls its last argument with its result
    pub async fn async_script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.command(Method::POST, "/execute/async", body).await
    }

    /// Sends a command of the DevTools protocol
    pub async fn cdp(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.command(Method::POST, "/goog/cdp/execute", body).await;
    }

    /// Waits for a page whose address starts with `address` and that shows `text`
    ///
    /// A click returns before the next page is loaded.
    pub async fn shows(&self, address: &str, text: &str) {
        let mut seen = Value::Null;
        for _ in 0..200 {
            let page = json!({
                "script": "return [location.href, document.body.innerText]", "args": [],
            });
            // Between two pages the script may fail.
            if let Ok(page) = self.try_command(Method::POST, "/execute/sync", page).await {
                let is = |n: usize, f: fn(&str, &str) -> bool, wanted: &str| {
                    page[n].as_str().is_some_and(|text| f(text, wanted))
                };
                if is(0, |a, b| a.starts_with(b), address) && is(1, |a, b| a.contains(b), text) {
                    return;
                }
                seen = page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not `{text}` at {address}, but {seen}");
    }

    /// The visible text
    pub async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap().to_owned()
    }

    /// Clicks the element that a CSS selector finds, and waits for the next page
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.command(Method::POST, &format!("{element}/click"), json!({})).await;
    }

    /// Types into the element that a CSS selector finds
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.command(Method::POST, &format!("{element}/value"), json!({ "text": text })).await;
    }

    async fn element(&self, selector: &str) -> String {
        let how = json!({ "using": "css selector", "value": selector });
        let found = self.command(Method::POST, "/element", how).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        format!("/element/{id}")
    }

    /// The names of the cookies for the page's host
    pub async fn cookies(&self) -> Vec<String> {
        let cookies = self.command(Method::GET, "/cookie", Value::Null).await;
        let names = cookies.as_array().unwrap().iter();
        names.map(|cookie| cookie["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Saves pictures of the page as `NAME-light.png` and `NAME-dark.png` in the folder
    /// `AUTHD_SCREENSHOTS`, if that is set
    pub async fn picture(&self, name: &str) {
        for scheme in ["dark", "light"] {
            let preferred = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            self.cdp("Emulation.setEmulatedMedia", json!({ "features": preferred })).await;
            self.save(&format!("{name}-{scheme}")).await;
        }
    }

    /// Saves a picture of the page as it is, if `AUTHD_SCREENSHOTS` is set
    pub async fn save(&self, name: &str) {
        let Some(folder) = std::env::var_os("AUTHD_SCREENSHOTS") else { return };
        let picture = self.command(Method::GET, "/screenshot", Value::Null).await;
        let picture = openssl::base64::decode_block(picture.as_str().unwrap()).unwrap();
        let file = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(file, picture).unwrap();
    }

    /// Ends the browser
    pub async fn close(self) {
        self.command(Method::DELETE, "", Value::Null).await;
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        self.try_command(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Returns the command's result, or the driver's error
    async fn try_command(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let body = match method {
            Method::GET | Method::DELETE => Bytes::new(),
            _ => body.to_string().into(),
        };
        let headers = [(CONTENT_TYPE, "application/json")];
        let answer = self.client.send(method, &url, &headers, body).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        if answer.status.is_success() { Ok(body["value"].clone()) } else { Err(body) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Reached without `close` only if the test failed.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A port on which a program that a test starts can listen
pub fn free_port() -> u16 {
    free_address().port()
}
