//! Gradients: every rule and whole networks against difference quotients of the oracle's loss in f64, on both backends.

#[path = "../support/mod.rs"]
mod support;

mod evaluate;
mod networks;
mod problem;
mod refusals;
mod rules;
