//! Compiles the wire's protos, so that a build needs no `protoc`: protox parses, tonic-prost-build writes Rust.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 10] = [
    "proto/fleet/orchestrator/v1/orchestrator.proto",
    "proto/orchestrator/v1/orchestrator.proto",
    "proto/fleet/context/v1/context.proto",
    "proto/fleet/ray_executor/v1/ray_executor.proto",
    "proto/moothall/v1/tasks.proto",
    "proto/moothall/v1/journal.proto",
    "proto/moothall/v1/councils.proto",
    "proto/moothall/v1/verdict.proto",
    "proto/moothall/v1/runner.proto",
    "proto/moothall/v1/executor.proto",
];

/// Messages that the older package numbers alike: one Rust type serves both, so that nothing is mapped twice. A test
/// compares them, field by field.
const SHARED: [&str; 14] = [
    "OrchestrateResponse",
    "GetStatusRequest",
    "GetStatusResponse",
    "TaskConstraints",
    "OrchestratorOptions",
    "DeliberationResult",
    "Proposal",
    "CheckSuite",
    "PolicyResult",
    "LintResult",
    "DryRunResult",
    "CheckResult",
    "OrchestratorMetadata",
    "OrchestratorStats",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    // Reflection serves them, and a test compares them with the wire tables.
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let shared = SHARED.into_iter().fold(tonic_prost_build::configure(), |builder, name| {
        builder.extern_path(
            format!(".orchestrator.v1.{name}"),
            format!("crate::grpc::proto::fleet::orchestrator::v1::{name}"),
        )
    });
    shared
        .codec_path("crate::grpc::codec::StrictCodec")
        // Ordered maps: the same answer has the same bytes.
        .btree_map(".")
        // A journal payload is handed on, never copied.
        .bytes(".moothall.v1.JournalEvent.payload")
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
