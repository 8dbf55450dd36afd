//! The store's tests: the storage's conformance suite, what only PostgreSQL can get wrong, and the service over HTTP with the embedded
//! broker.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod service;
