//! What the tests of every lesson share.
