//! The behaviours of the chassis over real sockets and, for the broker, a real RabbitMQ.

mod broker;
