//! `longshore definitions`: what RabbitMQ imports at boot, with the documented development passwords or with random ones.

use std::collections::BTreeMap;
use std::process::ExitCode;

use protocol::definitions::{self, Credential};
use protocol::topology::{Topology, VHOST};
use uuid::Uuid;

use crate::arguments::Definitions;
use crate::output;

pub(crate) fn run(arguments: &Definitions) -> anyhow::Result<ExitCode> {
    let topology = Topology::new(&arguments.queues);
    if !arguments.random_passwords {
        let document = definitions::render(&topology, VHOST, definitions::development_credential);
        output::line(document.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let users = topology.users.iter();
    let credentials: BTreeMap<&str, Credential> = users.map(|user| (user.name, random())).collect();
    let document = definitions::render(&topology, VHOST, |user| {
        credentials.get(user.name).cloned().expect("every user of the topology has one")
    });
    output::line(document.trim_end())?;
    output::note("The passwords are shown only here; the file has their hashes.");
    for (user, credential) in &credentials {
        output::note(format!("{user:12} amqp://{user}:{}@HOST:5672/{VHOST}", credential.password));
    }
    Ok(ExitCode::SUCCESS)
}

/// 122 random bits of the system's generator as password, others as salt.
fn random() -> Credential {
    let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
    Credential { password: Uuid::new_v4().simple().to_string(), salt: [a, b, c, d] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_credentials_differ() {
        let (one, other) = (random(), random());
        assert_ne!(one.password, other.password);
        assert_ne!(one.salt, other.salt);
        assert_eq!(one.password.len(), 32);
    }
}
