//! A real browser under test: Chromium behind chromedriver, spoken to in the W3C `WebDriver` protocol, as much of it as an operator's hands
//! and eyes need. It ends with the test process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Http;
use crate::ports::free_address;
use crate::process::{Process, Spec};
use crate::wait::eventually;

/// Nothing of the browser leaves this machine, and it finds no profile of anybody's.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1700",
];
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// An audit of a page computes for seconds, and longer on a busy machine.
const SCRIPT_WITHIN: Duration = Duration::from_secs(120);
const ANSWERS_WITHIN: Duration = Duration::from_secs(150);
/// A page of the management UI is drawn from several answers of its API.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// The key of an element's id, fixed by the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

#[derive(Debug)]
pub struct Browser {
    http: Http,
    session: String,
    driver: Process,
    // Holds the profile and the log as long as the browser runs.
    _folder: TempDir,
}

/// A part of the page.
#[derive(Clone, Debug)]
pub struct Element(String);

impl Browser {
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("longshore-browser-").tempdir()?;
        let address = free_address()?;
        let driver = Process::start(Spec {
            name: "chromedriver".to_owned(),
            binary: found("chromedriver", "chromium-driver")?,
            arguments: vec![format!("--port={}", address.port())],
            environment: BTreeMap::from([("HOME".to_owned(), folder.path().display().to_string())]),
            folder: folder.path().to_owned(),
        })?;
        let http = Http::new(address).with_deadline(ANSWERS_WITHIN);
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let options = json!({"binary": found("chromium", "chromium")?, "args": flags});
        // What pages log, and every request that they make.
        let logged = json!({"browser": "ALL", "performance": "ALL"});
        let timeouts = json!({"script": SCRIPT_WITHIN.as_millis()});
        let always = json!({"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logged, "timeouts": timeouts});
        let wanted = json!({"capabilities": {"alwaysMatch": always}});
        eventually(STARTS_WITHIN, "chromedriver answers", async || {
            http.get("/status").await?.expect(200)?;
            Ok(Some(()))
        })
        .await?;
        let begun = http.post("/session", &wanted).await?.expect(200).context(driver.log())?;
        let session = begun["value"]["sessionId"].as_str().context("a session without an id")?.to_owned();
        Ok(Self { http, session, driver, _folder: folder })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let path = format!("/session/{}{path}", self.session);
        let answer = self.http.send(method, &path, &[], body.as_ref()).await?;
        ensure!(answer.status == 200, "{path}: {answer}\n{}", self.driver.log_tail(5));
        Ok(answer.json()?["value"].take())
    }

    pub async fn open(&self, url: &str) -> Result<()> {
        self.call(Method::POST, "/url", Some(json!({"url": url}))).await.map(drop)
    }

    /// The first part of the page that the `XPath` names, as soon as it can be seen.
    pub async fn see(&self, xpath: &str) -> Result<Element> {
        eventually(SEEN_WITHIN, &format!("the page shows {xpath}"), async || self.look(xpath).await).await
    }

    /// Whether that can be seen now.
    pub async fn shows(&self, xpath: &str) -> Result<bool> {
        self.look(xpath).await.map(|element| element.is_some())
    }

    async fn look(&self, xpath: &str) -> Result<Option<Element>> {
        let wanted = json!({"using": "xpath", "value": xpath});
        for found in self.call(Method::POST, "/elements", Some(wanted)).await?.as_array().into_iter().flatten() {
            let id = found[ELEMENT].as_str().context("an element without an id")?;
            if self.call(Method::GET, &format!("/element/{id}/displayed"), None).await? == true {
                return Ok(Some(Element(id.to_owned())));
            }
        }
        Ok(None)
    }

    pub async fn click(&self, xpath: &str) -> Result<()> {
        let Element(id) = self.see(xpath).await?;
        self.call(Method::POST, &format!("/element/{id}/click"), Some(json!({}))).await.map(drop)
    }

    /// Puts the text into a field, in the place of what was there.
    pub async fn write(&self, xpath: &str, text: &str) -> Result<()> {
        let Element(id) = self.see(xpath).await?;
        self.call(Method::POST, &format!("/element/{id}/clear"), Some(json!({}))).await?;
        self.call(Method::POST, &format!("/element/{id}/value"), Some(json!({"text": text}))).await.map(drop)
    }

    /// What a person can read in the part of the page that the `XPath` names.
    pub async fn read(&self, xpath: &str) -> Result<String> {
        let Element(id) = self.see(xpath).await?;
        let text = self.call(Method::GET, &format!("/element/{id}/text"), None).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the part of the page says all of these words.
    pub async fn says(&self, xpath: &str, words: &[&str]) -> Result<String> {
        eventually(SEEN_WITHIN, &format!("{xpath} says {words:?}"), async || {
            let text = self.read(xpath).await?;
            let missing = words.iter().find(|word| !text.contains(**word));
            ensure!(missing.is_none(), "{missing:?} is not in:\n{text}");
            Ok(Some(text))
        })
        .await
    }

    /// Presses keys one after the other, with whatever has the focus.
    pub async fn press(&self, keys: &[&str]) -> Result<()> {
        let each = |key: &&str| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = keys.iter().flat_map(each).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.call(Method::POST, "/actions", Some(json!({"actions": [keyboard]}))).await.map(drop)
    }

    /// What the function body returns in the page; it may be a promise.
    pub async fn run(&self, script: &str) -> Result<Value> {
        self.call(Method::POST, "/execute/sync", Some(json!({"script": script, "args": []}))).await
    }

    /// What was logged since this was asked last: of "browser" what pages said, of "performance" what they did.
    pub async fn log(&self, kind: &str) -> Result<Vec<Value>> {
        let entries = self.call(Method::POST, "/se/log", Some(json!({"type": kind}))).await?;
        Ok(entries.as_array().cloned().unwrap_or_default())
    }

    /// A command of the `DevTools` protocol.
    pub async fn command(&self, name: &str, parameters: &Value) -> Result<Value> {
        self.call(Method::POST, "/goog/cdp/execute", Some(json!({"cmd": name, "params": parameters}))).await
    }

    /// A PNG of the window.
    pub async fn photograph(&self, path: &Path) -> Result<()> {
        let picture = self.call(Method::GET, "/screenshot", None).await?;
        let bytes = base64(picture.as_str().unwrap_or_default()).context("a picture that is no base64")?;
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
    }
}

fn found(program: &str, package: &str) -> Result<PathBuf> {
    let path = Path::new("/usr/bin").join(program);
    ensure!(path.exists(), "{} is not there: run `apt-get install {package}`, or tests/browser/run", path.display());
    Ok(path)
}

/// Base64 with padding; `None` for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [u8::MAX; 256];
    for (value, letter) in (0..).zip(ALPHABET) {
        values[usize::from(*letter)] = value;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = values[usize::from(letter)];
        if value == u8::MAX {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(base64(text).as_deref(), expected, "{text}");
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zm8=", Some(b"fo"));
        check("Zm9vYmFy", Some(b"foobar"));
        check("/+8=", Some(b"\xff\xef"));
        check("Zm 9", None);
    }
}
