//! Models as people look at them: what one holds ([`Listing`]), and in what two differ ([`ModelDifference`]).

mod difference;
mod distance;
mod listing;

pub use difference::{Change, Entry, InitializerChange, ModelDifference, NodeChange};
pub use distance::Distance;
pub use listing::{Counted, ListedNode, ListedParameter, Listing, Typed};
