//! What a command prints.
//!
//! Results go to stdout and remarks to stderr. A reader that went away (`| head`)
//! ends the command quietly: the first failed write to stdout is an error that
//! [`is_closed`] recognises.

use std::io::{self, ErrorKind, IsTerminal, Write};

/// Writes one line to stdout.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// Writes bytes to stdout as they are, with a newline after them.
pub(crate) fn raw_line(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.write_all(b"\n")
}

/// Hands everything written so far to whoever reads.
pub(crate) fn flush() -> io::Result<()> {
    io::stdout().lock().flush()
}

/// Writes one line to stderr. A closed stderr leaves nowhere to complain.
pub(crate) fn remark(text: &str) {
    let mut err = io::stderr().lock();
    let written = err
        .write_all(text.as_bytes())
        .and_then(|()| err.write_all(b"\n"));
    drop(written);
}

/// Whether somebody is likely to watch stderr.
pub(crate) fn watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether a command ended because its reader closed stdout.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Output>())
        .any(|Output(cause)| cause.kind() == ErrorKind::BrokenPipe)
}

/// A failed write to stdout; told apart from a broken connection to a broker.
#[derive(Debug, thiserror::Error)]
#[error("write to stdout")]
pub(crate) struct Output(#[source] pub(crate) io::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_closed_pipe_ends_a_command_quietly() {
        let pipe = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_closed(
            &anyhow::Error::new(Output(pipe())).context("print")
        ));
        assert!(!is_closed(
            &anyhow::Error::new(pipe()).context("send a frame")
        ));
    }
}
