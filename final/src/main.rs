//! Coracle: a container engine that one person can build and one person can carry.

fn main() {}
