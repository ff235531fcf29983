//! What the command line says: help texts, errors, exit codes. `TRYCMD=overwrite cargo test --test cmd` renews them.

#[test]
fn help_and_errors_read_as_recorded() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
