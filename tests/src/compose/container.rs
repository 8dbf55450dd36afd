//! One container as `docker inspect` describes it, and whether it is closed as tightly as ours should be.

use anyhow::{Context, Result};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Container(Value);

impl Container {
    pub fn new(described: Value) -> Self {
        Self(described)
    }

    pub fn name(&self) -> &str {
        self.0["Name"].as_str().unwrap_or_default().trim_start_matches('/')
    }

    pub fn id(&self) -> &str {
        self.0["Id"].as_str().unwrap_or_default()
    }

    pub fn service(&self) -> &str {
        self.0["Config"]["Labels"]["com.docker.compose.service"].as_str().unwrap_or_default()
    }

    /// Of its first process, on this machine.
    pub fn pid(&self) -> Result<i32> {
        let pid = self.0["State"]["Pid"].as_i64().filter(|pid| *pid > 0);
        i32::try_from(pid.with_context(|| format!("{} does not run", self.name()))?).context("a process id")
    }

    pub fn restarts(&self) -> u64 {
        self.0["RestartCount"].as_u64().unwrap_or_default()
    }

    pub fn is_healthy(&self) -> bool {
        self.0["State"]["Health"]["Status"] == "healthy"
    }

    pub fn state(&self) -> &Value {
        &self.0["State"]
    }

    /// What is more open than it should be.
    pub fn laxities(&self) -> Vec<&'static str> {
        let (config, host) = (&self.0["Config"], &self.0["HostConfig"]);
        let lists = |value: &Value, wanted: &str| {
            value
                .as_array()
                .is_some_and(|list| list.iter().any(|found| found.as_str().is_some_and(|f| f.starts_with(wanted))))
        };
        let bindings = host["PortBindings"].as_object().into_iter().flat_map(|ports| ports.values());
        let published = bindings.flat_map(|places| places.as_array().into_iter().flatten());
        let everywhere = published.filter(|place| place["HostIp"] != "127.0.0.1").count();
        let rules = [
            (matches!(config["User"].as_str(), None | Some("" | "0" | "root")), "it runs as root"),
            (host["ReadonlyRootfs"] != true, "its files can be changed"),
            (!lists(&host["CapDrop"], "ALL"), "it keeps capabilities"),
            (!lists(&host["SecurityOpt"], "no-new-privileges"), "it may gain privileges"),
            (host["Memory"].as_u64().unwrap_or_default() == 0, "its memory is not limited"),
            (host["PidsLimit"].as_i64().unwrap_or_default() <= 0, "its processes are not limited"),
            (host["RestartPolicy"]["Name"] != "unless-stopped", "it is not restarted"),
            (everywhere > 0, "a port is published beyond 127.0.0.1"),
        ];
        rules.into_iter().filter_map(|(lax, sentence)| lax.then_some(sentence)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tight() -> Value {
        json!({
            "Config": {"User": "10001:10001"},
            "HostConfig": {
                "ReadonlyRootfs": true, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges:true"], "Memory": 1, "PidsLimit": 5,
                "RestartPolicy": {"Name": "unless-stopped"},
                "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]},
            },
        })
    }

    #[test]
    fn what_is_too_open_is_named() {
        let check = |pointer: &str, value: Value, expected: &[&str]| {
            let mut described = tight();
            *described.pointer_mut(pointer).expect("it is there") = value;
            assert_eq!(Container::new(described).laxities(), expected, "{pointer}");
        };
        check("/Config/User", json!("rabbitmq"), &[]);
        check("/Config/User", json!(""), &["it runs as root"]);
        check("/HostConfig/ReadonlyRootfs", json!(false), &["its files can be changed"]);
        check("/HostConfig/CapDrop", json!(null), &["it keeps capabilities"]);
        check("/HostConfig/SecurityOpt", json!(["seccomp=x"]), &["it may gain privileges"]);
        check("/HostConfig/Memory", json!(0), &["its memory is not limited"]);
        check("/HostConfig/PidsLimit", json!(null), &["its processes are not limited"]);
        check("/HostConfig/RestartPolicy/Name", json!("no"), &["it is not restarted"]);
        check("/HostConfig/PortBindings", json!({}), &[]);
        check("/HostConfig/PortBindings/8000~1tcp/0/HostIp", json!(""), &["a port is published beyond 127.0.0.1"]);
    }
}
