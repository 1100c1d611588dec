//! The broker itself, on tokio.

use anyhow::bail;

use crate::config::Config;

/// Runs a broker until it is told to stop.
#[expect(clippy::unused_async, reason = "the runtime is being built")]
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    bail!("the broker of node {} is not built yet", config.node)
}
