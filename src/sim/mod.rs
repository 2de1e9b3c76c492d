//! A simulated model server and scripted answers, for demo, tests and benchmarks; every output says so.
