//! The session against a small PostgreSQL that lives in memory: what a client hears is what it would hear alone.

mod copy;
mod differential;
mod lazy_begin;
mod notation;
mod pipelines;
mod postgres;
mod prepared;
mod replicas;
mod settings;
mod world;
