//! Coracle: a container engine that one person can build and one person can carry.

#![allow(dead_code, unused_imports, reason = "the rooms above these are being built")]

mod runtime;
mod store;

fn main() {}
