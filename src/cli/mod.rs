//! cli.

/// Parses the command line and runs it; returns the exit status.
pub fn main() -> i32 {
    0
}
