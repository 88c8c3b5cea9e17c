//! Every [must] and [trap] of the wire contract, spoken by clients generated from the contract.

mod ack;
mod batch;
mod batches;
mod groups;
mod options;
mod other_services;
mod partitions;
mod publish;
mod replay;
mod start;
mod subscribe;
mod transport;
