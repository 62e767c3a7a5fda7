//! Lesson 5: a container that is reachable by address, name and port.

fn main() {}
