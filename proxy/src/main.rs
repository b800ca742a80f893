//! The binary: hands the command line to `cli`.
//!
//! The system's allocator: others were no faster here, and kept more memory after a large message.

fn main() -> std::process::ExitCode {
    pgshunt::cli::run()
}
