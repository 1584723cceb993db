//! The program `stead-server`.
//! Leaves everything to the library; what it is told to do is in `commands`.

use std::process::ExitCode;

fn main() -> ExitCode {
    stead_server::commands::run()
}
