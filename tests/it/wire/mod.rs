//! The wire: our protos against the tables of deployed clients, and a client made from those tables alone against the
//! real daemon.

mod outside;
mod tables;
