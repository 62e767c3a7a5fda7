//! A shim and its container, driven through the runtime's own interface.
//!
//! This program is the engine of these tests, and, started as `… shim DIR`, its shim:
//! a shim is always the program that launches it.

#![allow(dead_code, unused_imports, reason = "what the engine uses beside")]

use std::process::ExitCode;

#[path = "../src/runtime/mod.rs"]
mod runtime;
#[path = "../src/store/mod.rs"]
mod store;

mod support;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match words.get(1).and_then(|word| word.to_str()) {
        Some("shim") => runtime::shim::main(&words[2..]),
        Some("drive") => support::user::drive(),
        Some("probe-write") => support::probe::write(),
        Some("probe") => support::probe::main(&words[2..]),
        _ => testkit::main(
            [
                support::life::tests(),
                support::security::tests(),
                support::exec::tests(),
                support::user::tests(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
    }
}
