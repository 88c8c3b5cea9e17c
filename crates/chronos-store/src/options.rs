//! What an operator may choose.

/// Sizes and counts of a store. The defaults suit a machine with two cores and keep the store's
/// memory below about 200 MiB.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory for blocks read from files, with their indexes and filters, bytes. Default 64 MiB.
    pub block_cache_bytes: usize,
    /// Memory for what is written and not yet flushed, all families together, bytes. At seven
    /// eighths of it a flush starts by itself; writes go on meanwhile, so the peak may be half as
    /// much again. More means fewer bytes rewritten by compactions. Default 64 MiB.
    pub write_buffer_bytes: usize,
    /// Files held open at once; a closed one is opened again when it is read. Default 512, half of
    /// the file descriptors that systems usually allow a process.
    pub max_open_files: u32,
    /// Threads that flush and compact. Default 2: one for each core.
    pub background_jobs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_cache_bytes: 64 << 20,
            write_buffer_bytes: 64 << 20,
            max_open_files: 512,
            background_jobs: 2,
        }
    }
}
