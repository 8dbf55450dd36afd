//! `definitions.json`, which RabbitMQ imports at boot, rendered from the topology. Passwords are hashed here as RabbitMQ does it; salts
//! and passwords are arguments.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::key::QueueName;
use crate::topology::{Limits, Topology, User, VHOST};

/// What a user logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub password: String,
    /// Random for a real deployment; the committed development file has fixed ones, so that it is the same each time.
    pub salt: [u8; 4],
}

/// The definitions for a fresh broker: everything in one virtual host, each user with its credential.
#[must_use]
pub fn render(topology: &Topology, vhost: &str, credential: impl Fn(&User) -> Credential) -> String {
    let users: Vec<Value> = topology.users.iter().map(|user| user_json(user, &credential(user))).collect();
    let permissions: Vec<Value> = topology
        .users
        .iter()
        .map(|user| {
            json!({"user": user.name, "vhost": vhost, "configure": user.configure, "write": user.write, "read": user.read})
        })
        .collect();
    let mut document = json!({"users": users, "vhosts": [{"name": vhost}], "permissions": permissions});
    if let (Some(document), Value::Object(objects)) = (document.as_object_mut(), objects(topology, Some(vhost))) {
        document.extend(objects);
    }
    pretty(&document)
}

/// The definitions of one virtual host alone, without users: for a broker that exists.
#[must_use]
pub fn render_vhost(topology: &Topology) -> String {
    pretty(&objects(topology, None))
}

/// The committed file: the queue `default`, and development passwords for a broker on loopback.
#[must_use]
pub fn development() -> String {
    let default = QueueName::try_from("default").expect("a valid name");
    render(&Topology::new(&[default]), VHOST, development_credential)
}

/// The development password of a user is its name and `-dev`.
#[must_use]
pub fn development_credential(user: &User) -> Credential {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(user.name));
    Credential { password: development_password(user.name), salt: [a, b, c, d] }
}

/// The development password of the user of this name.
#[must_use]
pub fn development_password(user: &str) -> String {
    format!("{user}-dev")
}

fn objects(topology: &Topology, vhost: Option<&str>) -> Value {
    let within = |mut object: Value| {
        if let (Some(object), Some(vhost)) = (object.as_object_mut(), vhost) {
            object.insert("vhost".to_owned(), vhost.into());
        }
        object
    };
    let exchanges = topology.exchanges.iter().map(|exchange| {
        json!({
            "name": exchange.name, "type": exchange.kind.as_str(), "durable": true, "auto_delete": false,
            "internal": false, "arguments": {},
        })
    });
    let queues = topology.queues.iter().map(
        |queue| json!({"name": queue.name, "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "quorum"}}),
    );
    let bindings = topology.bindings.iter().map(|binding| {
        json!({
            "source": binding.exchange, "destination": binding.queue, "destination_type": "queue",
            "routing_key": binding.routing_key, "arguments": {},
        })
    });
    let policies = topology.policies.iter().map(|policy| {
        json!({
            "name": policy.name, "pattern": policy.pattern, "apply-to": "queues", "priority": policy.priority,
            "definition": limits_json(&policy.limits),
        })
    });
    json!({
        "policies": policies.map(within).collect::<Vec<_>>(),
        "queues": queues.map(within).collect::<Vec<_>>(),
        "exchanges": exchanges.map(within).collect::<Vec<_>>(),
        "bindings": bindings.map(within).collect::<Vec<_>>(),
    })
}

fn limits_json(limits: &Limits) -> Value {
    let mut definition = json!({"max-length": limits.max_length, "overflow": limits.overflow.as_str()});
    if let Some((delivery_limit, queue)) = limits.dead_letter {
        definition["delivery-limit"] = delivery_limit.into();
        definition["dead-letter-exchange"] = "".into();
        definition["dead-letter-routing-key"] = queue.into();
        definition["dead-letter-strategy"] = limits.dead_letter_strategy().into();
    }
    definition
}

fn user_json(user: &User, credential: &Credential) -> Value {
    json!({
        "name": user.name, "password_hash": password_hash(credential),
        "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": user.tags, "limits": {},
    })
}

/// base64(salt ‖ sha256(salt ‖ password)), <https://www.rabbitmq.com/docs/passwords>.
fn password_hash(credential: &Credential) -> String {
    let digest = Sha256::new().chain_update(credential.salt).chain_update(&credential.password).finalize();
    let mut bytes = credential.salt.to_vec();
    bytes.extend_from_slice(&digest);
    base64(&bytes)
}

/// Base64 of whole groups of three bytes: salt and digest are 36 together, so there is never padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (groups, []) = bytes.as_chunks::<3>() else { unreachable!("36 bytes are twelve groups") };
    let sextets = groups.iter().flat_map(|[a, b, c]| [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63]);
    sextets.map(|sextet| char::from(ALPHABET[usize::from(sextet)])).collect()
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_file_is_what_the_topology_says() {
        let committed = include_str!("../../rabbitmq/definitions.json");
        assert!(committed == development(), "write it again: cargo run -- definitions > rabbitmq/definitions.json");
    }

    #[test]
    fn hash_is_the_one_of_the_documentation() {
        let credential = Credential { password: "test12".to_owned(), salt: [0x90, 0x8D, 0xC6, 0x0A] };
        assert_eq!(password_hash(&credential), "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn nobody_uses_guest_and_each_user_has_its_rights() {
        let document: Value = serde_json::from_str(&development()).expect("json");
        let names = |list: &str, field: &str| -> Vec<String> {
            let entries = document[list].as_array().expect("a list");
            entries.iter().map(|entry| entry[field].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(names("users", "name"), ["gateway", "worker", "store-svc", "cache-svc", "up", "admin"]);
        assert_eq!(names("users", "name"), names("permissions", "user"));
        assert!(names("queues", "vhost").iter().all(|vhost| vhost == VHOST));
    }

    #[test]
    fn one_virtual_host_can_be_imported_alone() {
        let document: Value = serde_json::from_str(&render_vhost(&Topology::new(&[]))).expect("json");
        assert!(document.get("users").is_none());
        assert!(document["queues"][0].get("vhost").is_none());
    }
}
