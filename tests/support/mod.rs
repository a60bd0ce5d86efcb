//! What the tests judge the library by: an independent reference ([`oracle`]), comparison against its
//! error bounds ([`compare`]) and reproducible inputs ([`random`]).
//!
//! Nothing here uses the library under test: a mistake in shared index arithmetic would hide in both.

#![allow(dead_code)] // every test binary includes this module and uses a part of it

pub mod compare;
pub mod oracle;
pub mod random;
