use std::sync::atomic::{AtomicBool, Ordering};

use crate::metrics::HostCounts;

/// What a service shares with the program that it is part of
pub(crate) struct Host {
    pub(crate) counts: Box<dyn Fn() -> HostCounts + Send + Sync>,
    is_stopping: AtomicBool,
}

impl Host {
    pub(crate) fn new(counts: impl Fn() -> HostCounts + Send + Sync + 'static) -> Self {
        Self { counts: Box::new(counts), is_stopping: AtomicBool::new(false) }
    }

    pub(crate) fn set_stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}
