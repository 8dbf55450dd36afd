//! Who sits at the console: a browser that is asked after each page what it logged, what it asked for, and what axe-core thinks of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::browser::Browser;

pub(super) const TAB: &str = "\u{E004}";
pub(super) const ENTER: &str = "\u{E007}";

/// Widths of a window, in CSS pixels: a laptop, and a telephone.
const WIDE: u32 = 1_280;
const NARROW: u32 = 400;
/// What axe-core calls faults that keep somebody from using a page.
const GRAVE: [&str; 2] = ["serious", "critical"];
const AUDIT: &str = "return axe.run(document, {resultTypes: ['violations']}).then(({violations}) => \
                     violations.map(({id, impact, nodes}) => ({id, impact, nodes: nodes.map((node) => node.html)})))";

pub(super) struct Person {
    pub(super) browser: Browser,
    place: String,
    pictures: PathBuf,
    auditor: String,
    /// Errors that a page logged, and requests to elsewhere.
    faults: RefCell<BTreeSet<String>>,
}

impl Person {
    pub(super) async fn sit_down(address: SocketAddr) -> Result<Self> {
        let target = tests::binaries::binary("longshore")?.ancestors().nth(2).context("target")?.to_owned();
        let auditor = target.join("axe/node_modules/axe-core/axe.min.js");
        let auditor = fs::read_to_string(&auditor)
            .with_context(|| format!("{} is not there: tests/browser/run installs it", auditor.display()))?;
        let pictures = target.join("pictures/console");
        let (place, faults) = (format!("http://{address}"), RefCell::default());
        let person = Self { browser: Browser::start().await?, place, pictures, auditor, faults };
        person.at_width(WIDE).await?;
        Ok(person)
    }

    /// Opens a page of the console by its address.
    pub(super) async fn visit(&self, page: &str, heading: &str) -> Result<()> {
        self.browser.open(&format!("{}/console{page}", self.place)).await?;
        self.browser.says("//h1", &[heading]).await.map(drop)
    }

    /// Looks at the page in light and dark, wide and narrow, and keeps pictures of it.
    pub(super) async fn examine(&self, name: &str) -> Result<()> {
        self.note_faults().await?;
        for scheme in ["dark", "light"] {
            let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
            self.browser.command("Emulation.setEmulatedMedia", &json!({"features": feature})).await?;
            for width in [NARROW, WIDE] {
                self.at_width(width).await?;
                self.browser.run("scrollTo(0, 0)").await?;
                self.fits(&format!("{name}, {width} px wide")).await?;
                self.browser.photograph(&self.pictures.join(format!("{name}-{scheme}-{width}.png"))).await?;
            }
            self.audit(&format!("{name} in {scheme}")).await?;
        }
        Ok(())
    }

    /// Only tables and the like may be wider than the window, and scroll by themselves.
    async fn fits(&self, page: &str) -> Result<()> {
        let wide = self.browser.run("return document.documentElement.scrollWidth - innerWidth").await?;
        ensure!(wide.as_i64().is_some_and(|wide| wide <= 0), "{page} has to be scrolled sideways by {wide} px");
        Ok(())
    }

    async fn audit(&self, page: &str) -> Result<()> {
        self.browser.run(&self.auditor).await?;
        let found = self.browser.run(AUDIT).await?;
        let grave = |fault: &&Value| fault["impact"].as_str().is_some_and(|impact| GRAVE.contains(&impact));
        let grave: Vec<String> = found.as_array().into_iter().flatten().filter(grave).map(Value::to_string).collect();
        ensure!(grave.is_empty(), "axe-core on {page}:\n{}", grave.join("\n"));
        Ok(())
    }

    async fn at_width(&self, width: u32) -> Result<()> {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.browser.command("Emulation.setDeviceMetricsOverride", &metrics).await.map(drop)
    }

    /// What the pages have loaded since the last examination, in bytes on the wire.
    pub(super) async fn bytes_loaded(&self) -> Result<f64> {
        let events = self.events().await?;
        let ours: BTreeSet<&str> = events
            .iter()
            .filter(|event| url(event).is_some_and(|url| self.is_ours(url)))
            .filter_map(|event| event["params"]["requestId"].as_str())
            .collect();
        let loaded = events.iter().filter(|event| event["method"] == "Network.loadingFinished");
        let loaded = loaded.filter(|event| event["params"]["requestId"].as_str().is_some_and(|id| ours.contains(id)));
        Ok(loaded.filter_map(|event| event["params"]["encodedDataLength"].as_f64()).sum())
    }

    fn is_ours(&self, url: &str) -> bool {
        url.starts_with(&format!("{}/", self.place))
    }

    /// The browser's own events; requests to elsewhere are remembered.
    async fn events(&self) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        for entry in self.browser.log("performance").await? {
            let told: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let event = told["message"].clone();
            // Not those within the browser, such as its empty first page.
            let elsewhere = |url: &&str| (url.starts_with("http") || url.starts_with("ws")) && !self.is_ours(url);
            if let Some(url) = url(&event).filter(elsewhere) {
                self.faults.borrow_mut().insert(format!("a request to {url}"));
            }
            events.push(event);
        }
        Ok(events)
    }

    async fn note_faults(&self) -> Result<()> {
        self.events().await?;
        for entry in self.browser.log("browser").await? {
            if ["SEVERE", "WARNING"].iter().any(|level| entry["level"] == *level) {
                self.faults.borrow_mut().insert(entry.to_string());
            }
        }
        Ok(())
    }

    /// The browser logs each answer that is an error; this one was asked for.
    pub(super) async fn forgive(&self, path: &str, status: u16) -> Result<()> {
        self.note_faults().await?;
        let asked_for =
            |fault: &String| fault.contains(&format!("{path} ")) && fault.contains(&format!("status of {status}"));
        self.faults.borrow_mut().retain(|fault| !asked_for(fault));
        Ok(())
    }

    pub(super) async fn has_seen_no_fault(&self) -> Result<()> {
        self.note_faults().await?;
        let faults: Vec<String> = self.faults.borrow().iter().cloned().collect();
        ensure!(faults.is_empty(), "pages logged errors, or asked elsewhere:\n{}", faults.join("\n"));
        Ok(())
    }
}

/// Of the request that an event says is being sent.
fn url(event: &Value) -> Option<&str> {
    event["params"]["request"]["url"].as_str().filter(|_| event["method"] == "Network.requestWillBeSent")
}
