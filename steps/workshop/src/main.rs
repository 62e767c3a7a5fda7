//! `cargo workshop`: the exercises' runner.

fn main() -> std::process::ExitCode {
    workshop::cli::main()
}
