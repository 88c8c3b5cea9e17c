//! Compiles /proto twice: once into plain messages with clients, once into services whose
//! hot messages are the hand-written ones of `chronos_proto::raw`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

/// Messages that travel often enough for their events to stay undecoded on the server.
const RAW_MESSAGES: [&str; 4] = [
    "PublishRequest",
    "PublishBatchRequest",
    "Delivery",
    "ReplayEvent",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Read when this runs: a cached build script may be of another checkout.
    let proto_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto_dir.display());
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new([&proto_dir])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files([
            "cronos_db/events.proto",
            "cronos_db/schedule.proto",
            "cronos_db/dead_letters.proto",
            "cronos_db/replay.proto",
            "cronos_db/pause.proto",
            "cronos_db/topics.proto",
            "cronos_db/cluster.proto",
            "cronos_db_admin/admin.proto",
        ])?;
    let files = compiler.file_descriptor_set();

    let mut bare = files.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    fs::write(out_dir.join("descriptors.bin"), bare.encode_to_vec())?;

    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".")
        .btree_map(".")
        .compile_fds(files.clone())?;

    let services_dir = out_dir.join("raw_services");
    fs::create_dir_all(&services_dir)?;
    let mut services = tonic_prost_build::configure()
        .out_dir(&services_dir)
        .extern_path(".cronos_db", "crate::cronos_db")
        .extern_path(".cronos_db_admin", "crate::cronos_db_admin");
    for message in RAW_MESSAGES {
        services = services.extern_path(
            format!(".cronos_db.{message}"),
            format!("crate::raw::{message}"),
        );
    }
    services.compile_fds(files)?;

    // Not among the descriptors, because reflection is for clients.
    let internal_dir = out_dir.join("internal");
    fs::create_dir_all(&internal_dir)?;
    let mut compiler = protox::Compiler::new([&proto_dir])?;
    compiler.open_files([
        "chronos_internal/membership.proto",
        "chronos_internal/nodes.proto",
        "chronos_internal/peers.proto",
    ])?;
    tonic_prost_build::configure()
        .out_dir(&internal_dir)
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
