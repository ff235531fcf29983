//! The `isal` command; see `isal --help`.

fn main() -> std::process::ExitCode {
    isal::cli::main()
}
