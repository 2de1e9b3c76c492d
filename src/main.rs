//! Starts the program: everything is in the library.

use std::process::ExitCode;

/// The system's allocator costs a fifth of the throughput.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    // Two providers are linked in; without a choice the first TLS connection panics. A second choice cannot happen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(moothall::cli::run());
    // A blocking call that never ends, such as a read of the terminal, must not keep the process.
    runtime.shutdown_background();
    Ok(exit)
}
