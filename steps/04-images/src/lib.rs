//! Lesson 4: a root that came, verified, from a registry.

mod sys;
pub mod unpack;
