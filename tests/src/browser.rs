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
/// A page of the management UI is drawn from several answers of its API.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
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
        let http = Http::new(address).with_deadline(STARTS_WITHIN);
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let options = json!({"binary": found("chromium", "chromium")?, "args": flags});
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}});
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
