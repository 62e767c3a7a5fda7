//! Lesson 4: a root that came, verified, from a registry.

fn main() {}
