//! The store's tests: the storage's conformance suite, and the service over HTTP with the embedded broker.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod service;
