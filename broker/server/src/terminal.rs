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

/// Writes bytes to stdout as they are, with nothing after them.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    io::stdout().lock().write_all(bytes)
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

/// Whether somebody is likely to watch stdout.
pub(crate) fn stdout_is_watched() -> bool {
    io::stdout().is_terminal()
}

/// Clears the terminal and begins at its top.
pub(crate) fn clear() -> io::Result<()> {
    io::stdout().lock().write_all(b"\x1b[2J\x1b[H")
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

/// Lines up cells under their headings: numbers to the right, the rest to the left.
/// The last column of every line ends where its text ends.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(headings[column].chars().count())
    };
    let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit()) || cell == "-";
    let right: Vec<bool> = (0..headings.len())
        .map(|column| {
            !rows.is_empty() && rows.iter().filter_map(|row| row.get(column)).all(is_number)
        })
        .collect();
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let gap = if column == 0 { "" } else { "  " };
            line.push_str(gap);
            line.push_str(if right[column] { &pad } else { cell });
            line.push_str(if right[column] { cell } else { &pad });
        }
        line.trim_end().to_owned()
    };
    let cells = |row: &Vec<String>| line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    std::iter::once(line(headings))
        .chain(rows.iter().map(cells))
        .collect()
}

/// A number of bytes for people: `17 B`, `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| count >= *unit) {
        None => format!("{count} B"),
        Some((name, unit)) => {
            let tenths = u128::from(count) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_names_to_the_left() {
        let rows = [["a", "1"], ["名字", "1000"]].map(|row| row.map(str::to_owned).to_vec());
        let lines = table(&["NAME", "DEPTH"], &rows);
        assert_eq!(lines, ["NAME  DEPTH", "a         1", "名字     1000"]);
        assert_eq!(table(&["NAME", "DEPTH"], &[]), ["NAME  DEPTH"]);
    }

    #[test]
    fn bytes_are_shown_with_one_decimal() {
        let shown = [0, 1023, 1024, 1536, 5 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }

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
