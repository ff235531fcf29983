//! A vector that the plugin holds.

use isal_plugin_abi::{Table, Vector};

/// A vector over the parameters in scope, on the plugin's device; freed with this.
#[derive(Debug)]
pub struct PluginVector {
    pub(super) handle: Vector,
    table: &'static Table,
}

impl PluginVector {
    pub(super) fn new(handle: Vector, table: &'static Table) -> Self {
        PluginVector { handle, table }
    }
}

impl Drop for PluginVector {
    fn drop(&mut self) {
        // SAFETY: a null message is allowed. The handle is this vector's own, so the call cannot fail.
        unsafe { (self.table.vector_free)(self.handle, std::ptr::null_mut()) };
    }
}
