//! Compiles the contracts with protox, so that nobody has to install protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let messages = [
        "replicamq/store/v1/batch.proto",
        "replicamq/store/v1/message.proto",
    ];
    let services = [
        "replicamq/replication/v1/replication.proto",
        "replicamq/admin/v1/admin.proto",
    ];
    for file in messages.iter().chain(&services) {
        println!("cargo:rerun-if-changed={file}");
    }
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(false)
        .build_server(false)
        .compile_fds(protox::compile(messages, ["."])?)?;
    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        tonic_prost_build::configure()
            .bytes(".")
            .compile_fds(protox::compile(services, ["."])?)?;
    }
    Ok(())
}
