//! The broker port: one suite for both adapters, and what only RabbitMQ has.

mod node;
