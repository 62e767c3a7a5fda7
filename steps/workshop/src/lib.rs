//! The exercises' runner.
//!
//! An exercise of lesson `NN` is four files in `steps/NN-name/exercises/`, a crate of
//! its own beside the lesson:
//!
//! ```text
//!   solutions/01_hostname.rs      the source: the program, with its answer between
//!                                 `// YOURS: what to do` and `// END`, and why
//!   01_hostname.rs                made of it: a todo!() in the place of the answer
//!   hints/01_hostname.md          hints, from a nudge to nearly everything
//!   snapshots/01_hostname.snap    what the solved program shows of itself, and what
//!                                 the host sees of it
//!   mistakes/01_hostname_….rs     typical wrong answers, and what must be said to them
//! ```
//!
//! `cargo workshop` is this crate's program; [`lint`] is the test that every
//! lesson's exercises must pass.

pub mod cli;
mod exercise;
mod grade;
mod hints;
pub mod lint;
mod needs;
mod observe;
mod progress;
mod sys;
mod template;
mod words;
mod world;

pub use exercise::{Exercise, Lesson, lessons};
