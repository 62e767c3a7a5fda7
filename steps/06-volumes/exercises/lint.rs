//! The exercises of this lesson, tested: see the crate `workshop`.

fn main() {
    workshop::lint::main(env!("CARGO_MANIFEST_DIR"))
}
