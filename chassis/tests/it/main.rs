//! HTTP behaviours over a real listener.
