//! What one frame may cost.

/// Bounds on one frame; whatever passes one is a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the command line.
    pub command_bytes_max: usize,
    /// Length of one header line.
    pub header_bytes_max: usize,
    /// Number of headers.
    pub headers_max: usize,
    /// Length of all header lines together.
    pub head_bytes_max: usize,
    /// Length of the body; one that announces more is refused unread.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: 64,
            header_bytes_max: 10 * 1024,
            headers_max: 1_000,
            head_bytes_max: 128 * 1024,
            body_bytes_max: 16 * 1024 * 1024,
        }
    }
}
