//! `longshore keys` and `longshore audit`: who may call, and what operators did.

use std::process::ExitCode;

use chassis::client::Call;
use chassis::clock;
use chassis::config::Source;
use clap::{Args, Subcommand};
use http::Method;
use protocol::access::{
    AuditEntry, AuditPage, CreateKey, IssuedKey, KeyId, KeyLimits, KeyName, KeyPage, KeyView, RotateKey, Scope,
};
use protocol::tenant::Tenant;
use protocol::time::Timestamp;

use super::named::All;
use crate::arguments::{Service, Shown};
use crate::client::{Client, get, post, request};
use crate::durations;
use crate::output;
use crate::output::listing::{self, Page};
use crate::output::table::{Kind, Table};

const PATH: &str = "/keys";
const NONE: &str = "There are none: create one with `longshore keys create shop --scope submit --scope read`.";

const KEYS: [(&str, Kind); 6] = [
    ("KEY", Kind::Text),
    ("NAME", Kind::Long),
    ("TENANT", Kind::Text),
    ("SCOPES", Kind::Text),
    ("USED", Kind::Text),
    ("", Kind::Long),
];

const AUDIT: [(&str, Kind); 6] = [
    ("AT", Kind::Text),
    ("WHO", Kind::Text),
    ("ACTION", Kind::Text),
    ("TARGET", Kind::Long),
    ("FROM", Kind::Text),
    ("OUTCOME", Kind::Text),
];

#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List API keys, oldest first
    List(All),
    /// Show what is known of an API key
    Show {
        #[command(flatten)]
        service: Service,
        /// Which key
        #[arg(value_name = "KEY_ID")]
        key_id: KeyId,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Create an API key and print it, this once
    Create(Create),
    /// Give an API key a new secret and print it; the old one stays good for a while
    Rotate {
        #[command(flatten)]
        service: Service,
        /// Which key
        #[arg(value_name = "KEY_ID")]
        key_id: KeyId,
        /// How long the old secret stays good, such as 0s, 1h or 7d
        #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = durations::parse_ms)]
        overlap: u64,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Set all limits of the jobs submitted with an API key from now on; those that are not named are none
    Limit {
        #[command(flatten)]
        service: Service,
        /// Which key
        #[arg(value_name = "KEY_ID")]
        key_id: KeyId,
        /// Its jobs that may run at once, in all queues together; 0 starts nothing
        #[arg(long, value_name = "N")]
        running_max: Option<u64>,
        /// Its jobs that may be started per second, in all queues together
        #[arg(long, value_name = "N")]
        rate_per_second: Option<u32>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let an API key be good no more, and the sessions of the console that were begun with it
    Revoke {
        #[command(flatten)]
        service: Service,
        /// Which key
        #[arg(value_name = "KEY_ID")]
        key_id: KeyId,
    },
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    service: Service,
    /// What people call it: whose it is, what for
    #[arg(value_name = "NAME")]
    name: KeyName,
    /// What it is good for: submit, read, work, operate or admin; may be given several times
    #[arg(long, value_name = "SCOPE", required = true, value_parser = scope)]
    scope: Vec<Scope>,
    /// Whose jobs and data it is for [default: those of the key that creates it]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// For how long it is good, such as 12h or 90d; for ever without this
    #[arg(long, value_name = "DURATION", value_parser = durations::parse_ms)]
    expires_in: Option<u64>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    service: Service,
    /// Most entries to list
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Go on after a former page: what it gave as next cursor
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    shown: Shown,
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::named(text).ok_or_else(|| format!("it must be {}", Scope::ALL.map(Scope::name).join(", ")))
}

pub(crate) async fn run(arguments: Keys, source: &Source) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(asked) => {
            let part = |page: KeyPage| (page.keys, page.next_cursor);
            asked.run(PATH, source, part, table, NONE).await?;
        }
        Command::Show { service, key_id, json } => {
            let client = Client::new(&service, source)?;
            let answer = client.call(&get(format!("{PATH}/{key_id}"))).await?;
            shown(&client, &answer.body, json)?;
        }
        Command::Create(asked) => create(asked, source).await?,
        Command::Rotate { service, key_id, overlap, json } => {
            let client = Client::new(&service, source)?;
            let body = RotateKey { overlap_ms: Some(overlap) };
            let answer = client.call(&post(&format!("{PATH}/{key_id}/rotate"), &body)?).await?;
            let old = format!("The old secret of {key_id} is good for another {}.", durations::show_ms(overlap));
            issued(&client, &answer.body, json, &old)?;
        }
        Command::Limit { service, key_id, running_max, rate_per_second, json } => {
            let client = Client::new(&service, source)?;
            let limits = KeyLimits { running_max, rate_per_second };
            let answer = client.call(&Call::put(format!("{PATH}/{key_id}/limits"), &limits)?).await?;
            shown(&client, &answer.body, json)?;
        }
        Command::Revoke { service, key_id } => {
            let client = Client::new(&service, source)?;
            client.call(&request(Method::DELETE, format!("{PATH}/{key_id}"))).await?;
            output::line(format!("The key {key_id} is revoked; within 5 s no gateway takes it any more."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(asked: Create, source: &Source) -> anyhow::Result<()> {
    let client = Client::new(&asked.service, source)?;
    let at = |ms: u64| Timestamp::from_unix_ms(clock::wall_ms().saturating_add_unsigned(ms));
    let expires_at = asked.expires_in.map(at);
    let scopes = asked.scope.into_iter().collect();
    let body = CreateKey { name: asked.name, scopes, tenant: asked.tenant, expires_at };
    let answer = client.call(&post(PATH, &body)?).await?;
    issued(&client, &answer.body, asked.json, "Keep it: it cannot be shown again.")
}

fn shown(client: &Client, body: &[u8], json: bool) -> anyhow::Result<()> {
    listing::one(client, body, json, |key| table(&[key]).lines(output::width()))
}

/// The key alone on standard output, so that it can go into a file or a variable.
fn issued(client: &Client, body: &[u8], json: bool, note: &str) -> anyhow::Result<()> {
    if json {
        output::json(body)?;
        return Ok(());
    }
    let IssuedKey { api_key, key } = client.read(body)?;
    output::note(format!("{} has the id {}. {note}", key.name.as_str(), key.key_id));
    output::line(api_key)?;
    Ok(())
}

fn table(keys: &[KeyView]) -> Table<6> {
    let now_ms = clock::wall_ms();
    Table::new(KEYS, keys.iter().map(|key| row(key, now_ms)))
}

fn row(key: &KeyView, now_ms: i64) -> [String; 6] {
    let ago = |at: Timestamp| format!("{} ago", durations::show_ms(durations::between_ms(at, now_ms)));
    let left = |end: Timestamp| durations::show_ms(u64::try_from(end.unix_ms().saturating_sub(now_ms)).unwrap_or(0));
    let (end, old) = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (Some(format!("revoked {}", ago(at))), None),
        (None, Some(end)) if !key.is_good(now_ms) => (Some(format!("expired {}", ago(end))), None),
        (None, end) => {
            let old = key.old_secret_until.filter(|until| until.unix_ms() > now_ms);
            let old = old.map(|until| format!("old secret good for {}", left(until)));
            (end.map(|end| format!("expires in {}", left(end))), old)
        }
    };
    let state = [end, old, at_most(&key.limits)].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let used = key.last_used_at.map_or_else(|| "never".to_owned(), ago);
    let scopes = key.scopes.iter().map(Scope::name).collect::<Vec<_>>().join(",");
    [key.key_id.to_string(), key.name.as_str().to_owned(), key.tenant.to_string(), scopes, used, state]
}

/// What the jobs submitted with it may have; `None`: what their tenant may.
fn at_most(limits: &KeyLimits) -> Option<String> {
    let running = limits.running_max.map(|most| format!("{most} running"));
    let rate = limits.rate_per_second.map(|rate| format!("{rate} per second"));
    let limits: Vec<_> = [running, rate].into_iter().flatten().collect();
    (!limits.is_empty()).then(|| format!("at most {}", limits.join(", ")))
}

pub(crate) async fn audit(arguments: &Audit, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &arguments.limit.to_string());
    if let Some(cursor) = &arguments.cursor {
        query.append_pair("cursor", cursor);
    }
    let page = |body: &[u8], width: usize| {
        let AuditPage { entries, next_cursor } = client.read(body)?;
        let more = next_cursor.map(|cursor| format!("There are more: --cursor {cursor}"));
        let nothing = || "Nothing is recorded: without LONGSHORE_AUTH=1 nobody knows who does what.".to_owned();
        let notes = if entries.is_empty() { vec![nothing()] } else { more.into_iter().collect() };
        let lines =
            if entries.is_empty() { Vec::new() } else { Table::new(AUDIT, entries.iter().map(act)).lines(width) };
        Ok(Page { lines, notes })
    };
    listing::show(&client, &get(format!("/audit?{}", query.finish())), &arguments.shown, page).await
}

fn act(entry: &AuditEntry) -> [String; 6] {
    [
        entry.at.to_string(),
        entry.who.clone(),
        entry.action.clone(),
        entry.target.clone(),
        entry.from.clone().unwrap_or_default(),
        entry.outcome.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_listed_with_what_becomes_of_them() {
        let check = |more: serde_json::Value, expected: &str| {
            let mut key = json!({
                "key_id": "00000000000000ff", "name": "shop", "tenant": "default", "scopes": ["read", "submit"],
                "created_at": "1970-01-01T00:00:00Z",
            });
            key.as_object_mut().expect("a key").extend(more.as_object().expect("members").clone());
            let key: KeyView = serde_json::from_value(key).expect("a key");
            let lines = Table::new(KEYS, [row(&key, 60_000)]).lines(usize::MAX);
            let cells: Vec<_> = lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            assert_eq!(cells.join("  "), expected);
        };
        let shown = |used: &str, state: &str| {
            format!("00000000000000ff  shop  default  submit,read  {used}  {state}").trim_end().to_owned()
        };
        check(json!({}), &shown("never", ""));
        check(json!({"last_used_at": "1970-01-01T00:00:50Z"}), &shown("10 s ago", ""));
        check(json!({"revoked_at": "1970-01-01T00:00:50Z"}), &shown("never", "revoked 10 s ago"));
        check(json!({"expires_at": "1970-01-01T00:00:50Z"}), &shown("never", "expired 10 s ago"));
        check(
            json!({"expires_at": "1970-01-01T00:01:50Z", "old_secret_until": "1970-01-01T00:01:05Z"}),
            &shown("never", "expires in 50 s, old secret good for 5.0 s"),
        );
        check(json!({"limits": {"running_max": 5}}), &shown("never", "at most 5 running"));
        check(json!({"limits": {"rate_per_second": 10}}), &shown("never", "at most 10 per second"));
        check(
            json!({"expires_at": "1970-01-01T00:01:50Z", "limits": {"running_max": 0, "rate_per_second": 10}}),
            &shown("never", "expires in 50 s, at most 0 running, 10 per second"),
        );
        check(
            json!({"revoked_at": "1970-01-01T00:00:50Z", "limits": {"running_max": 5}}),
            &shown("never", "revoked 10 s ago, at most 5 running"),
        );
    }
}
