//! REST workflows on a real daemon: with the built-in hub and one of somebody else, through kills and races.

mod chain;
mod fuzz;
mod hub;
mod kills;
mod rest;
mod stand;
mod takeover;
