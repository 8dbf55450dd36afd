//! The `longshore` program as a user meets it: what it prints, on which stream, with which exit status.

mod alone;
mod commands;
mod doctor;
mod load;
mod program;
mod scripted;
mod system;
