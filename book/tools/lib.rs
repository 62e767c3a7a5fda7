//! What keeps the book true.
//!
//! - [`pages`]: which pages there are, and the fenced blocks in them.
//! - [`anchors`]: code on a page is an anchor in a crate, and nothing else.
//! - [`generated`]: the pages that are computed from the crates and the exercises.
//!
//! `cargo run -p book` writes the generated pages anew. The html is made by the crate
//! `press`, beside this one.

pub mod anchors;
pub mod generated;
pub mod pages;
