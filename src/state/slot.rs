//! The place of the store in use.

use super::Store;
use std::sync::{Arc, PoisonError, RwLock};

/// The store in use; empty as long as nothing needs one. A reload may put another one in.
#[derive(Clone, Default)]
pub struct StoreSlot(Arc<RwLock<Option<Arc<dyn Store>>>>);

impl StoreSlot {
    /// Returns the store, if there is one.
    pub fn get(&self) -> Option<Arc<dyn Store>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the store.
    pub fn set(&self, store: Arc<dyn Store>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
    }
}
