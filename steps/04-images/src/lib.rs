//! Lesson 4: a root that came, verified, from a registry.

pub mod elf;
mod sys;
pub mod unpack;
