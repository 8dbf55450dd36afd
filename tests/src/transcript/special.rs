//! The blocks that cannot be pasted as they are, by how one of their lines begins, and what holds each of them instead. Pure.

use super::run::Means;

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Paste,
    /// It never ends by itself: pasted into the background, and asked to end when its output is there.
    UntilPrinted,
    /// RabbitMQ is started beside the shell, with the files of `rabbitmq/`, at its usual port.
    Broker,
    /// Not here; this holds it.
    Elsewhere(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Cargo,
    /// What starts RabbitMQ, and what connects to it.
    BrokerStart,
    Broker,
    Compose,
    Profile,
    Bench,
    Itself,
}

/// The first one that fits counts.
const SPECIAL: [(&str, Needs); 8] = [
    ("cargo run --release", Needs::Cargo),
    ("tests/run", Needs::Itself),
    ("docker compose up -d --wait rabbitmq", Needs::BrokerStart),
    ("docker compose --profile ", Needs::Profile),
    ("docker compose ", Needs::Compose),
    ("tests/bench/run", Needs::Bench),
    ("WORKER_TASKS=", Needs::Compose),
    ("AMQP_URL=", Needs::Broker),
];

/// What to do with a block, given what there is.
pub fn way(commands: &str, means: Means) -> Way {
    let begins = |begin: &str| commands.lines().any(|line| line.starts_with(begin));
    let Some((_, needs)) = SPECIAL.iter().find(|(begin, _)| begins(begin)) else { return Way::Paste };
    match needs {
        Needs::Cargo if means.cargo => Way::UntilPrinted,
        Needs::Cargo => Way::Elsewhere("tests/tour/run"),
        Needs::BrokerStart if means.broker => Way::Broker,
        Needs::Broker if means.broker => Way::Paste,
        Needs::BrokerStart | Needs::Broker => Way::Elsewhere("tests/run, which has a RabbitMQ"),
        Needs::Compose => Way::Elsewhere("tests/compose/run"),
        Needs::Profile => Way::Elsewhere("tests/compose/run, as far as its settings, and tests/observability"),
        Needs::Bench => Way::Elsewhere("who measures: it takes three quarters of an hour"),
        Needs::Itself => Way::Elsewhere("itself: this is one of its steps"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_named_is_not_pasted() {
        let check = |commands: &str, cargo: bool, broker: bool, expected: Way| {
            assert_eq!(way(commands, Means { cargo, broker, patience: Duration::ZERO }), expected, "{commands}");
        };
        check("longshore jobs\n", false, false, Way::Paste);
        check("cargo run --release\n", true, false, Way::UntilPrinted);
        check("cargo run --release\n", false, true, Way::Elsewhere("tests/tour/run"));
        check("docker compose up -d --wait rabbitmq\n", false, true, Way::Broker);
        check("kill $!\nAMQP_URL=amqp://… longshore up\n", false, true, Way::Paste);
        check(
            "kill $!\nAMQP_URL=amqp://… longshore up\n",
            true,
            false,
            Way::Elsewhere("tests/run, which has a RabbitMQ"),
        );
        check("docker compose up --build -d --wait\n", true, true, Way::Elsewhere("tests/compose/run"));
        let held = "tests/compose/run, as far as its settings, and tests/observability";
        check("docker compose --profile observability up\n", true, true, Way::Elsewhere(held));
        check(
            "tests/bench/run  # all\n",
            true,
            true,
            Way::Elsewhere("who measures: it takes three quarters of an hour"),
        );
    }
}
