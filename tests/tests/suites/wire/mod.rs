//! Every [must] and [trap] of the wire contract, spoken by clients generated from the contract.

mod ack;
mod batch;
mod groups;
mod other_services;
mod partitions;
mod publish;
mod replay;
mod start;
mod subscribe;
mod transport;
