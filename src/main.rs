//! From arguments to a configuration to a running server.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    let mut config = russet::config::Config::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--port" {
            config.port = args.next().and_then(|port| port.parse().ok()).unwrap_or(config.port);
        }
    }
    match russet::runtime::run(config) {
        Ok(code) => std::process::ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("russet: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
