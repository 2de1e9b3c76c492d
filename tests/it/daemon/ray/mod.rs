//! Waves at a real Ray executor, and everything on the way treated badly. The simulator is the witness: whatever falls, it
//! tells how often each call was really made.

mod cancels;
mod councils;
mod executor;
mod falls;
mod kills;
mod model;
mod process;
mod stand;
mod still;
mod tables;
