//! What `longshore doctor` can see of a PostgreSQL: whether it lets us in, keeps what it commits, and gives us the rights that a store needs.
//! It only reads.

use chassis::finding::Finding;

use super::connection::Connection;
use super::fault::Fault;
use super::schema::{MIGRATIONS, number};
use super::url::Url;

const CHECK: &str = "database";
/// `pg_current_xact_id` came with it, in the form of `server_version_num`.
const OLDEST: i32 = 130_000;
const FACTS: &str =
    "SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_user::text,
     current_setting('fsync'), current_setting('full_page_writes'), pg_is_in_recovery(),
     (SELECT count(*) FROM pg_namespace WHERE nspname = 'longshore') > 0,
     has_database_privilege(current_database(), 'CREATE')";
const RIGHTS: &str = "SELECT has_schema_privilege('longshore', 'USAGE'),
     coalesce(bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')), true)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'longshore' AND c.relkind = 'r'";
const VERSION: &str = "SELECT coalesce(max(version), 0)::bigint FROM longshore.schema_version";

/// Everything that was found. It waits for the server, for a few seconds at most, and has a runtime of its own: not to be called from within one.
#[must_use]
pub fn examine(url: &Url) -> Vec<Finding> {
    let connected = Connection::open(url, std::time::Duration::ZERO);
    let looked = connected.and_then(|mut connection| look(url, &mut connection));
    looked.unwrap_or_else(|fault| {
        let advice = "start PostgreSQL, or correct DATABASE_URL: postgres://user:password@host:port/database";
        vec![Finding::fault(CHECK, format!("{url} cannot be used: {fault}"), advice)]
    })
}

/// What the server says of itself and of us.
struct Facts {
    version: String,
    number: i32,
    user: String,
    fsync: String,
    full_page_writes: String,
    is_standby: bool,
    has_schema: bool,
    may_create: bool,
}

fn look(url: &Url, connection: &mut Connection) -> Result<Vec<Finding>, Fault> {
    let rows = connection.ask(FACTS)?;
    let row = rows.first().ok_or_else(|| Fault::Defect("no row".to_owned()))?;
    let facts = Facts {
        version: row.try_get(0)?,
        number: row.try_get(1)?,
        user: row.try_get(2)?,
        fsync: row.try_get(3)?,
        full_page_writes: row.try_get(4)?,
        is_standby: row.try_get(5)?,
        has_schema: row.try_get(6)?,
        may_create: row.try_get(7)?,
    };
    let mut findings = judge(url, &facts);
    if facts.has_schema {
        findings.extend(schema(&facts.user, connection)?);
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("PostgreSQL {} at {url}, fsync on; `{}` has the rights", facts.version, facts.user),
        ));
    }
    Ok(findings)
}

fn judge(url: &Url, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fault = |found: String, advice: String| findings.push(Finding::fault(CHECK, found, advice));
    if facts.number < OLDEST {
        fault(format!("{url} is PostgreSQL {}", facts.version), "13 is the oldest that will do: upgrade it".to_owned());
    }
    if facts.fsync == "off" || facts.full_page_writes == "off" {
        let found = format!(
            "{url} has fsync = {}, full_page_writes = {}: it may lose accepted jobs when its machine stops",
            facts.fsync, facts.full_page_writes
        );
        fault(found, "set both to on in postgresql.conf".to_owned());
    }
    if facts.is_standby {
        fault(format!("{url} is a standby, which only reads"), "name the primary in DATABASE_URL".to_owned());
    }
    if !facts.has_schema && !facts.may_create {
        let found = format!("`{}` may not create the schema longshore in {url}", facts.user);
        fault(found, format!("as its owner: GRANT CREATE ON DATABASE … TO {}", facts.user));
    }
    findings
}

/// Of a database that a store has used.
fn schema(user: &str, connection: &mut Connection) -> Result<Option<Finding>, Fault> {
    let rows = connection.ask(RIGHTS)?;
    let row = rows.first().ok_or_else(|| Fault::Defect("no row".to_owned()))?;
    let (uses, reads_and_writes): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if !(uses && reads_and_writes) {
        let found = format!("`{user}` may not read and write everything in the schema longshore");
        let advice =
            format!("GRANT ALL ON SCHEMA longshore TO {user}; GRANT ALL ON ALL TABLES IN SCHEMA longshore TO {user}");
        return Ok(Some(Finding::fault(CHECK, found, advice)));
    }
    let version = number(connection, VERSION)?;
    let is_known = usize::try_from(version).is_ok_and(|version| version <= MIGRATIONS.len());
    let found = format!("its schema has version {version}; this program knows versions up to {}", MIGRATIONS.len());
    Ok((!is_known)
        .then(|| Finding::fault(CHECK, found, "a newer store has used it: start that version, or a newer one")))
}
