//! From arguments to a configuration to a running server.

use std::path::Path;
use std::process::ExitCode;

use russet::config::{self, Invocation};

#[global_allocator]
static ALLOCATOR: russet::runtime::allocator::Allocator = russet::runtime::allocator::Allocator;

fn main() -> ExitCode {
    let ended = config::parse(std::env::args_os(), &read).and_then(|invocation| match invocation {
        Invocation::Print(text) => {
            print!("{text}");
            Ok(0)
        }
        Invocation::Check(options) => Ok(russet::runtime::check_files(&options)),
        Invocation::Run(startup) => russet::runtime::run(*startup),
    });
    match ended {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("russet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A configuration file, or the standard input for `-`.
fn read(path: &Path) -> std::io::Result<String> {
    if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    }
}
