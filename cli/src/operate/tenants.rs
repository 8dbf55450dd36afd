//! `longshore tenants`: whose jobs there are, and what each may have.

use std::process::ExitCode;

use chassis::client::Call;
use chassis::config::Source;
use clap::{Args, Subcommand};
use protocol::tenant::{Limits, Tenant, TenantView, Tenants as Listed};

use crate::arguments::{List, Service};
use crate::client::{Client, get};
use crate::output;
use crate::output::listing::{self, Page};
use crate::output::table::{Kind, Table};

const PATH: &str = "/tenants";
const COLUMNS: [(&str, Kind); 8] = [
    ("TENANT", Kind::Long),
    ("QUEUED", Kind::Number),
    ("SCHEDULED", Kind::Number),
    ("RUNNING", Kind::Number),
    ("SHARE", Kind::Number),
    ("RUNNING MAX", Kind::Number),
    ("PER SECOND", Kind::Number),
    ("QUEUED MAX", Kind::Number),
];

#[derive(Debug, Args)]
pub(crate) struct Tenants {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them by name: what they have open, and their limits
    List(List),
    /// Set all limits of one; those that are not named are none
    Set(Set),
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    service: Service,
    /// Which tenant; one that is not known is known from then on
    #[arg(value_name = "TENANT")]
    tenant: Tenant,
    /// Where several tenants wait in one queue, starts are divided in the proportion of their shares, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1)]
    share: u32,
    /// Jobs that may run at once, in all queues together; 0 starts nothing
    #[arg(long, value_name = "N")]
    running_max: Option<u64>,
    /// Jobs that may be started per second, in all queues together
    #[arg(long, value_name = "N")]
    rate_per_second: Option<u32>,
    /// Jobs that may wait; a further submit is refused
    #[arg(long, value_name = "N")]
    queued_max: Option<u64>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Tenants, source: &Source) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(list) => show(&list, source).await,
        Command::Set(set) => put(&set, source).await,
    }
}

async fn show(arguments: &List, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let page = |body: &[u8], width: usize| {
        let Listed { tenants } = client.read(body)?;
        Ok(Page { lines: table(&tenants).lines(width), notes: Vec::new() })
    };
    listing::show(&client, &get(PATH), &arguments.shown, page).await
}

async fn put(arguments: &Set, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let Set { share, running_max, rate_per_second, queued_max, .. } = *arguments;
    let limits = Limits { share, running_max, rate_per_second, queued_max };
    // A tenant's name needs no escapes in a path.
    let answer = client.call(&Call::put(format!("{PATH}/{}", arguments.tenant), &limits)?).await?;
    listing::one(&client, &answer.body, arguments.json, |view| table(&[view]).lines(output::width()))?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each tenant.
fn table(tenants: &[TenantView]) -> Table<8> {
    Table::new(COLUMNS, tenants.iter().map(row))
}

fn row(tenant: &TenantView) -> [String; 8] {
    let limit = |most: Option<u64>| most.map_or_else(|| "-".to_owned(), |most| most.to_string());
    [
        tenant.tenant.to_string(),
        tenant.depth.queued.to_string(),
        tenant.depth.scheduled.to_string(),
        tenant.depth.running.to_string(),
        tenant.limits.share.to_string(),
        limit(tenant.limits.running_max),
        limit(tenant.limits.rate_per_second.map(u64::from)),
        limit(tenant.limits.queued_max),
    ]
}

#[cfg(test)]
mod tests {
    use protocol::queue::Depth;
    use protocol::time::Timestamp;

    use super::*;

    #[test]
    fn what_is_no_limit_is_a_dash() {
        let tenant = |name: &str, limits, queued| TenantView {
            tenant: name.parse().expect("a name"),
            limits,
            depth: Depth { queued, ..Depth::default() },
            created_at: Timestamp::from_unix_ms(0),
        };
        let limits = Limits { share: 3, running_max: Some(50), rate_per_second: Some(100), queued_max: Some(10_000) };
        let lines = table(&[tenant("acme", limits, 7), tenant("default", Limits::default(), 0)]).lines(usize::MAX);
        let expected = [
            "TENANT   QUEUED  SCHEDULED  RUNNING  SHARE  RUNNING MAX  PER SECOND  QUEUED MAX",
            "acme          7          0        0      3           50         100       10000",
            "default       0          0        0      1            -           -           -",
        ];
        assert_eq!(lines, expected);
    }
}
