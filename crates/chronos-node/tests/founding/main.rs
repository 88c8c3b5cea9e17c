//! Nodes that become one cluster, over real sockets on loopback and real files.

mod becoming_one;
mod coming_back;
mod refusing;
mod scene;
