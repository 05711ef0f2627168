//! The binary: parses the command line, runs the command, ends the process.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let status = attache::cli::main();
    #[expect(clippy::disallowed_methods, reason = "the one place that ends the process")]
    std::process::exit(status)
}
