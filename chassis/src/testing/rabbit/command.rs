//! The files and command lines of a scratch node.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use super::{Identity, NodeConfig, SERVER};

const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
const PRODUCT: &str = include_str!("../../../../rabbitmq/rabbitmq.conf");
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lines of the log that a failure shows.
const LOG_LINES: usize = 30;

/// The port mapper runs in the group too, since one that the server starts would stay behind. The watcher reads the end of file when
/// the test process ends, however it ends, and leaves neither processes nor files.
const SHELL: &str = r#"
[ -z "$3" ] || { mkdir -p "$2/db" && mount -t tmpfs -o "size=$3" tmpfs "$2/db"; } || exit
exec 3<&0 </dev/null
(cat <&3 >/dev/null; kill -KILL "$(cat "$2/pid")"; rm -rf "$2"; kill -KILL 0) &
exec 3<&-
[ -n "$4" ] || (until epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT"; do sleep 0.1; done) &
"$1" &
wait $!
"#;

/// A port mapper for several nodes, which ends with the test process like they do.
const MAPPER: &str = r#"
exec 3<&0 </dev/null
(cat <&3 >/dev/null; kill -KILL 0) &
exec 3<&-
exec epmd -address 127.0.0.1 -port "$1"
"#;

pub(super) fn write_config(folder: &Path, identity: &Identity, config: &NodeConfig) -> Result<()> {
    // The product's own settings, so that every test checks them; of a repeated setting the last counts.
    let mut settings = format!(
        "{PRODUCT}\n\
         listeners.tcp.1 = 127.0.0.1:{}\n\
         management.tcp.port = {}\n\
         definitions.local.path = {}\n\
         disk_free_limit.absolute = 50MB\n\
         collect_statistics_interval = 1000\n\
         log.console = false\n\
         log.file.level = warning\n",
        identity.amqp,
        identity.management,
        folder.join("definitions.json").display(),
    );
    if let Some(consumer_timeout) = config.consumer_timeout {
        writeln!(settings, "consumer_timeout = {}", consumer_timeout.as_millis())?;
    }
    for line in &config.settings {
        writeln!(settings, "{line}")?;
    }
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).context("writing the configuration");
    write("rabbitmq.conf", &settings)?;
    write("definitions.json", &config.definitions)?;
    write("enabled_plugins", "[rabbitmq_management].\n")?;
    if let Some(advanced) = &config.advanced {
        write("advanced.config", advanced)?;
    }
    Ok(())
}

/// `disk_bytes`: with a disk of this size for its data, which only it sees.
pub(super) fn start(folder: &Path, identity: &Identity, disk_bytes: Option<u64>) -> Result<Child> {
    let mut command = match disk_bytes {
        None => Command::new("sh"),
        Some(_) => Command::new("unshare"),
    };
    with_environment(&mut command, folder, identity);
    if disk_bytes.is_some() {
        command.args(["--mount", "sh"]);
    }
    command
        .args(["-c", SHELL, "sh", SERVER])
        .arg(folder)
        .arg(disk_bytes.map(|bytes| bytes.to_string()).unwrap_or_default())
        .arg(if identity.has_own_mapper { "" } else { "shared" })
        .env("RABBITMQ_DIST_PORT", identity.distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", folder.join("db"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
        // Makes the script become the server instead of waiting for it, so that the pid file names the server.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        // Schedulers that do not spin leave a small machine to the programs under test.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
        )
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().context("starting the node")
}

pub(super) fn start_mapper(port: u16) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", MAPPER, "sh", &port.to_string()]).env_clear().env("PATH", PATH).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().context("starting a port mapper")
}

pub(super) fn ctl(folder: &Path, identity: &Identity, arguments: &[&str]) -> Command {
    let mut command = Command::new(CTL);
    with_environment(&mut command, folder, identity);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn with_environment(command: &mut Command, folder: &Path, identity: &Identity) {
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .env("HOME", folder)
        .env("RABBITMQ_NODENAME", &identity.name)
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", identity.epmd.to_string());
}

pub(super) fn log_tail(folder: &Path, identity: &Identity) -> String {
    let log = folder.join("log").join(format!("{}.log", identity.name));
    let text = std::fs::read_to_string(&log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
