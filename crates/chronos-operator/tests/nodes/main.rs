//! Clusters of real nodes in real pods, with the operator and the chart as they are installed, while
//! clients publish and subscribe through the Service. One file is one scenario.
//!
//! `scripts/test-kubernetes-nodes` starts a Kubernetes, loads the images, installs the chart and runs
//! these. They are ignored otherwise: a test that silently did nothing would be worse.

mod api_server;
mod certificates;
mod database;
mod deletion;
mod drift;
mod fault;
mod first_event;
mod hibernation;
mod inside;
mod load;
mod lost_nodes;
mod machine;
mod operator_killed;
mod partition;
mod rolling;
mod scaling;
mod stage;
mod vigil;
mod volumes;
