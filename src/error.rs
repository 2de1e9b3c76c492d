//! One table from classed errors to gRPC codes, HTTP codes and exit codes.
