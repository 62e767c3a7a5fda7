//! What the tests of every lesson share.
//!
//! An integration test of a container engine needs things that not every
//! machine has: root, user namespaces, cgroup v2, a registry. Here a test says
//! what it [`Needs`]; where that is missing the test is listed as ignored *with
//! the reason*, and never passes in silence. With `CORACLE_TESTS=all` in the
//! environment (CI) a missing need is a failure, except the two cgroup versions:
//! a machine has one of them.
//!
//! A test file is a program (`harness = false`):
//!
//! ```no_run
//! use testkit::Needs;
//!
//! testkit::main(vec![testkit::test(
//!     "a_container_cannot_see_host_processes",
//!     &[Needs::Root],
//!     a_container_cannot_see_host_processes,
//! )]);
//!
//! fn a_container_cannot_see_host_processes() { /* panics on failure */ }
//! ```
//!
//! Tests run in threads, so they drive the built binaries and never clone by
//! themselves. Everything made here is given back on drop, and dies with the
//! test process when that is killed.

mod image;
mod leftovers;
mod needs;
mod netns;
mod nursery;
mod registry;
mod sys;
mod temp;
mod user;

pub use image::{busybox_rootfs, oci_layout, tar_of};
pub use leftovers::Leftovers;
pub use needs::Needs;
pub use netns::NetNs;
pub use nursery::{Tended, spawn};
pub use registry::Registry;
pub use temp::{reachable, temp_dir};
pub use user::{User, user};

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Why tests were ignored in this run, and how many for each reason.
static IGNORED: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// One test: a name that is a claim, what it needs, and what it does.
///
/// `act` panics where the claim does not hold.
pub fn test(name: &str, needs: &[Needs], act: impl FnOnce() + Send + 'static) -> Trial {
    let needs = needs.to_vec();
    Trial::ignorable_test(name, move || {
        for need in needs {
            if let Err(reason) = need.check() {
                return ignored_or_failed(need, reason);
            }
        }
        act();
        Ok(Completion::Completed)
    })
}

/// Tests that are called as the functions that they are: what each needs, and which.
///
/// ```
/// use testkit::Needs;
///
/// const ROOT: &[Needs] = &[Needs::Root];
///
/// let tests = testkit::tests![ROOT a_container_cannot_see_host_processes];
/// assert_eq!(tests.len(), 1);
///
/// fn a_container_cannot_see_host_processes() { /* panics on failure */ }
/// ```
#[macro_export]
macro_rules! tests {
    ($($needs:ident $name:ident),* $(,)?) => {
        vec![$($crate::test(stringify!($name), $needs, $name)),*]
    };
}

fn ignored_or_failed(need: Needs, reason: String) -> Result<Completion, Failed> {
    if need.is_required() {
        return Err(format!("{reason}, and CORACLE_TESTS=all allows no gap").into());
    }
    let mut ignored = IGNORED.lock().unwrap_or_else(|e| e.into_inner());
    *ignored.entry(reason.clone()).or_default() += 1;
    Ok(Completion::ignored_with(reason))
}

/// Runs the tests as `cargo test` and its arguments ask, says why tests were
/// ignored, and exits.
pub fn main(tests: Vec<Trial>) -> ! {
    main_with(Arguments::from_args(), tests)
}

/// As [`main`], with arguments that the caller has had a look at.
pub fn main_with(arguments: Arguments, tests: Vec<Trial>) -> ! {
    temp::sweep();
    let conclusion = libtest_mimic::run(&arguments, tests);
    for (reason, count) in IGNORED.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        let tests = if *count == 1 { "test" } else { "tests" };
        println!("ignored: {reason} ({count} {tests})");
    }
    temp::remove();
    conclusion.exit()
}

/// Asks `done` until it says yes, and answers whether it did within `timeout`.
#[must_use = "assert that the wait ended well"]
pub fn wait_until(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
