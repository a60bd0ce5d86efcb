//! Checks of what the other tests are judged by: the oracle against published values, and every
//! checker against something that it must reject.

mod support;

#[path = "support/checks/mod.rs"]
mod checks;
