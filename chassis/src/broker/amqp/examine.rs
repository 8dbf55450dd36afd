//! What `longshore doctor` can see of a RabbitMQ over AMQP: the server, the topology with its arguments, the rights of a user, and whether
//! the job queues take and confirm messages.

use lapin::options::ConfirmSelectOptions;
use lapin::uri::AMQPUri;
use lapin::{Confirmation, Connection};
use protocol::key::QueueName;
use protocol::topology::{self, Topology, User, jobs_queue};
use tokio::runtime::Handle;

use super::RPC_DEADLINE;
use super::assert::Needed;
use super::connector::{self, Connector};
use super::failure::{Failure, within};
use super::outgoing::Outgoing;
use super::probe;
use super::rights::{self, Alike};
use crate::broker::{ConnectOptions, Program};
use crate::finding::Finding;

const SERVER: &str = "broker";
const TOPOLOGY: &str = "broker topology";
const RIGHTS: &str = "broker rights";
const QUEUES: &str = "broker queues";
/// The oldest that the tests run on.
const TESTED_SINCE: (u64, u64) = (3, 10);
const IMPORT: &str = "import what `longshore definitions` prints, or start `longshore up` once with a user that may declare it, such as `up`";

pub(in crate::broker) async fn examine(uri: &AMQPUri, program: Program, queues: &[QueueName]) -> Vec<Finding> {
    let place = probe::Place::of(uri);
    let server = match probe::server(&place).await {
        Ok(server) => server,
        Err(error) => {
            let advice = "start RabbitMQ, or correct AMQP_URL; until then jobs are accepted and wait";
            return vec![Finding::fault(SERVER, format!("no RabbitMQ answers at {place}: {error}"), advice)];
        }
    };
    let options = ConnectOptions::new(program, queues.to_vec());
    let connector = Connector::new(uri, &options, "doctor", Handle::current());
    let connection = match connector.connect().await {
        Ok(connection) => connection,
        Err(failure) => return vec![not_let_in(uri, &server, &failure)],
    };
    let examination = Examination { connection: &connection, uri, options: &options, whole: Topology::new(queues) };
    let mut findings = vec![examination.server(&server)];
    if let Err(failure) = examination.look(&mut findings).await {
        findings.push(Finding::fault(SERVER, format!("the look at it ended early: {failure}"), "try again"));
    }
    connector::close(&connection).await;
    drop(deadpool_lapin::Object::take(connection));
    findings
}

fn not_let_in(uri: &AMQPUri, server: &str, failure: &Failure) -> Finding {
    let (user, vhost) = (&uri.authority.userinfo.username, &uri.vhost);
    let advice = format!(
        "correct the user, the password or the virtual host in AMQP_URL; `longshore definitions` has the users of each program, and \
         `rabbitmqctl authenticate_user {user} PASSWORD` and `rabbitmqctl list_permissions -p {vhost}` say what the broker knows"
    );
    Finding::fault(SERVER, format!("{server} does not let `{user}` into the virtual host {vhost}: {failure}"), advice)
}

struct Examination<'a> {
    connection: &'a Connection,
    uri: &'a AMQPUri,
    options: &'a ConnectOptions,
    whole: Topology,
}

impl Examination<'_> {
    fn server(&self, server: &str) -> Finding {
        let authority = &self.uri.authority;
        let (user, vhost) = (&authority.userinfo.username, &self.uri.vhost);
        let found = format!("{server} at {}:{} lets `{user}` into {vhost}", authority.host, authority.port);
        if is_tested(server) {
            return Finding::ok(SERVER, found);
        }
        let (major, minor) = TESTED_SINCE;
        Finding::warning(
            SERVER,
            found,
            format!("it is older than {major}.{minor}, the oldest that is tested: upgrade it"),
        )
    }

    async fn look(&self, findings: &mut Vec<Finding>) -> Result<(), Failure> {
        let missing = Needed::all(&self.whole).missing(self.connection).await?;
        self.topology(&missing, findings).await?;
        let is_missing = |name: &str| missing.iter().any(|missing| missing == name);
        let denied = rights::denied(self.connection, self.options, |name| !is_missing(name)).await?;
        findings.push(self.rights(&denied));
        let may_publish = !denied.iter().any(|right| right.starts_with("publish"));
        let is_there = |queue: &&QueueName| !is_missing(&jobs_queue(queue.as_str()));
        let queues: Vec<_> = self.options.publishes_bells().filter(is_there).collect();
        let exchange = if queues.is_empty() { topology::REJECTED } else { topology::JOBS };
        if may_publish && !is_missing(exchange) {
            findings.extend(self.canaries(&queues).await?);
        }
        Ok(())
    }

    /// What is missing or has other arguments. Arguments are compared by declaring what is there once more, which takes the right to configure it.
    async fn topology(&self, missing: &[String], findings: &mut Vec<Finding>) -> Result<(), Failure> {
        let mut faults = Vec::new();
        if !missing.is_empty() {
            faults.push(Finding::fault(TOPOLOGY, format!("missing: {}", missing.join(", ")), IMPORT));
        }
        let mut unseen = 0;
        for queue in self.whole.queues.iter().filter(|queue| !missing.contains(&queue.name)) {
            match rights::compare(self.connection, queue).await? {
                Alike::Yes => {}
                Alike::Unseen => unseen += 1,
                Alike::No(words) => {
                    let advice = format!(
                        "delete the queue {0} when it is empty (`rabbitmqctl delete_queue -p {1} {0}`), then {IMPORT}",
                        queue.name, self.uri.vhost
                    );
                    faults.push(Finding::fault(
                        TOPOLOGY,
                        format!("{} is not as it should be: {words}", queue.name),
                        advice,
                    ));
                }
            }
        }
        if faults.is_empty() {
            let (exchanges, queues) = (self.whole.exchanges.len(), self.whole.queues.len());
            let seen = match unseen {
                0 => "with the right arguments",
                _ => "(their arguments are shown only to a user that may declare them, such as `up`)",
            };
            faults.push(Finding::ok(TOPOLOGY, format!("{exchanges} exchanges and {queues} queues are there {seen}")));
        }
        findings.append(&mut faults);
        Ok(())
    }

    fn rights(&self, denied: &[String]) -> Finding {
        let (user, program) = (&self.uri.authority.userinfo.username, self.options.program.as_str());
        if denied.is_empty() {
            return Finding::ok(RIGHTS, format!("`{user}` may do what {program} does"));
        }
        let needed = self.whole.users.iter().find(|known| known.name == program);
        let advice = needed.map_or_else(String::new, |needed| self.permission(needed));
        Finding::fault(RIGHTS, format!("`{user}` may not {}", denied.join(", nor ")), advice)
    }

    fn permission(&self, needed: &User) -> String {
        let (vhost, user) = (&self.uri.vhost, &self.uri.authority.userinfo.username);
        format!(
            "rabbitmqctl set_permissions -p {vhost} {user} '{}' '{}' '{}'",
            needed.configure, needed.write, needed.read
        )
    }

    /// A queue without a leader still answers a passive declare; only a confirmed message shows that it works.
    async fn canaries(&self, queues: &[&QueueName]) -> Result<Vec<Finding>, Failure> {
        let who = self.options.who();
        let mut findings = Vec::new();
        for queue in queues {
            let name = jobs_queue(queue.as_str());
            let found = self.confirmed(Outgoing::queue_canary(queue.as_str(), &who)).await?;
            findings.extend(self.judge(&name, found.as_ref()));
        }
        if queues.is_empty() {
            let found = self.confirmed(Outgoing::exchange_canary(&who)).await?;
            findings.extend(self.judge("the broker", found.as_ref()));
        }
        if findings.is_empty() {
            let names: Vec<_> = queues.iter().map(|queue| jobs_queue(queue.as_str())).collect();
            let who = if names.is_empty() { "the broker".to_owned() } else { names.join(", ") };
            findings.push(Finding::ok(QUEUES, format!("{who} took a message and confirmed it")));
        }
        Ok(findings)
    }

    fn judge(&self, name: &str, confirmed: Option<&Confirmation>) -> Option<Finding> {
        let fault = |found: &str, advice: &str| Some(Finding::fault(QUEUES, format!("{name} {found}"), advice));
        match confirmed {
            Some(Confirmation::Ack(None)) => None,
            Some(Confirmation::Ack(Some(_))) => fault("is not bound to the exchange jobs", IMPORT),
            Some(_) => fault(
                "refuses messages: it is full",
                "look who consumes it, in RabbitMQ's management UI or with `longshore queues`",
            ),
            None if self.connection.status().blocked() => fault(
                "takes no messages: it has an alarm",
                "make room: `rabbitmqctl status` says whether memory or disk is short",
            ),
            None => fault(
                "does not confirm a message: it may have no leader",
                "`rabbitmq-queues quorum_status` and the broker's log say why; a queue that lost its leader for good is deleted and declared anew",
            ),
        }
    }

    /// `None`: no answer in time.
    async fn confirmed(&self, canary: Outgoing) -> Result<Option<Confirmation>, Failure> {
        let channel = within(RPC_DEADLINE, "opening a channel", self.connection.create_channel()).await?;
        within(RPC_DEADLINE, "confirm.select", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let Outgoing { exchange, routing_key, body, options, properties } = canary;
        let published = async { channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await };
        match within(RPC_DEADLINE, "publishing a canary", published).await {
            Ok(confirmation) => Ok(Some(confirmation)),
            Err(Failure::Silent { .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Of `RabbitMQ 4.0.5`. What says no version is not judged.
fn is_tested(server: &str) -> bool {
    let numbers: Vec<u64> = server.split([' ', '.']).filter_map(|part| part.parse().ok()).collect();
    match numbers.as_slice() {
        [major, minor, ..] => (*major, *minor) >= TESTED_SINCE,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_brokers_are_told_from_tested_ones() {
        let check = |server: &str, expected: bool| assert_eq!(is_tested(server), expected, "{server}");
        check("RabbitMQ 4.0.5", true);
        check("RabbitMQ 3.10.8", true);
        check("RabbitMQ 3.9.29", false);
        check("unknown unknown", true);
    }
}
