//! Output of a command for other programs, on standard output.
//!
//! `println!` panics when the reader has closed the pipe (`attache urls | head -1`); here that ends the output quietly,
//! and any other failure to write is an exit status, so that a script never uses an incomplete output.

use std::io::{ErrorKind, Write as _};

/// Writes all of `bytes`; returns the exit status.
pub(super) fn write(bytes: &[u8]) -> i32 {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(e) if e.kind() == ErrorKind::BrokenPipe => 0,
        Err(e) => {
            eprintln!("error: can't write to standard output: {e}");
            1
        }
    }
}
