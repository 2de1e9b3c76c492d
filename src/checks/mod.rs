//! Executable checks of proposals.
