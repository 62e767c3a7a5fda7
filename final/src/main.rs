//! Coracle: a container engine that one person can build and one person can carry.

#![allow(dead_code, unused_imports, reason = "the rooms above these are being built")]

use std::process::ExitCode;

mod runtime;
mod store;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    match words.split_first() {
        Some((word, rest)) if word == "shim" => runtime::shim::main(rest),
        _ => ExitCode::from(125),
    }
}
