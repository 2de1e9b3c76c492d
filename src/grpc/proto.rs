//! What `build.rs` made of `proto/`: messages, servers and clients. The module tree follows the packages, because
//! generated code finds other packages that way.

#![expect(
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    reason = "generated code"
)]

pub mod fleet {
    /// The context service's, whose client the daemon is.
    pub mod context {
        pub mod v1 {
            tonic::include_proto!("fleet.context.v1");
        }
    }
    pub mod orchestrator {
        pub mod v1 {
            tonic::include_proto!("fleet.orchestrator.v1");
        }
    }
    /// The Ray executor's, whose client the daemon is.
    pub mod ray_executor {
        pub mod v1 {
            tonic::include_proto!("fleet.ray_executor.v1");
        }
    }
}

/// The older numbering.
pub mod orchestrator {
    pub mod v1 {
        tonic::include_proto!("orchestrator.v1");
    }
}

pub mod moothall {
    pub mod v1 {
        tonic::include_proto!("moothall.v1");
    }
}

/// Every file above, as reflection serves it.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
