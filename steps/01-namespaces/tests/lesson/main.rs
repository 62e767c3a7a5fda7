//! What lesson 1 promises, asked of its binary: as root, as an ordinary user with
//! subordinate ids, and as one without.

mod driver;
mod exec;
mod library;
mod run;
mod terminal;
mod who;

fn main() {
    // The library clones, and tests run in threads: those that drive it are this very
    // program again, as a child with one thread.
    if let Ok(play) = std::env::var(library::PLAY) {
        return library::play(&play);
    }
    // Before there are threads: one that forks while another writes a program would hold
    // it open, and nobody could execute it ("Text file busy").
    who::binary();
    library::stage_itself();
    let mut tests = run::tests();
    tests.extend(exec::tests());
    tests.extend(terminal::tests());
    tests.extend(library::tests());
    testkit::main(tests)
}
