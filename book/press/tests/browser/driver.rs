//! A small WebDriver client: one session of chromium, by chromedriver.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser; closed on drop.
pub struct Browser {
    session: String,
    agent: ureq::Agent,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    pub fn open() -> Browser {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().expect("start chromedriver");
        let port = port_of(&mut driver);
        let profile = testkit::temp_dir();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let base = format!("http://127.0.0.1:{port}/session");
        let mut browser = Browser { session: base, agent, driver, _profile: profile };
        let arguments = browser.arguments();
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments, "binary": "/usr/bin/chromium" },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = browser.post("", wanted);
        let id = answer["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--allow-file-access-from-files",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--user-data-dir={}", self._profile.path().display()));
        arguments
    }

    fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = self.agent.post(&url).header("content-type", "application/json");
        let answer = request.send(body.to_string()).expect("ask chromedriver");
        let text = answer.into_body().read_to_string().expect("read chromedriver's answer");
        let answer: Value = serde_json::from_str(&text).expect("JSON of chromedriver");
        let error = &answer["value"]["error"];
        assert!(error.is_null(), "{path} {body}: {}", answer["value"]["message"]);
        answer["value"].clone()
    }

    /// Opens a file of the book.
    pub fn go(&self, file: &Path) {
        self.post("/url", json!({ "url": format!("file://{}", file.display()) }));
    }

    /// What the script returns, in the page.
    pub fn ask(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Asks until the script returns something that is not null.
    #[track_caller]
    pub fn wait(&self, script: &str) -> Value {
        let mut answer = Value::Null;
        let came = testkit::wait_until(Duration::from_secs(10), || {
            answer = self.ask(script);
            !answer.is_null()
        });
        assert!(came, "in vain: {script}");
        answer
    }

    pub fn resize(&self, width: u32, height: u32) {
        // A window of headless chromium is not narrower than 500: a phone is emulated.
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.post("/goog/cdp/execute", command);
    }

    /// What was written to a log since the last time: "browser" is the page's console,
    /// "performance" has each request.
    pub fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.post("/se/log", json!({ "type": kind }));
        entries.as_array().cloned().unwrap_or_default()
    }
}

/// chromedriver says which port it has taken.
fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
    let said = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("started successfully on port ")?;
        rest.trim_end_matches('.').parse().ok()
    });
    // Whatever it says later must find a reader.
    std::thread::spawn(move || lines.for_each(drop));
    said.expect("chromedriver says its port")
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
