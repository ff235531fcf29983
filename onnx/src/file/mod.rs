//! Model files: reading, external data, writing.

pub(crate) mod external;
pub(crate) mod read;
pub(crate) mod write;
