//! cache-svc from outside: over HTTP and AMQP messages, against a scripted store and the embedded broker. The tests play the gateways.

mod cache;
mod events;
mod fences;
mod inspections;
mod reads;
mod seats;
mod store;
