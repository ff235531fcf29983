//! Models as people look at them: what one holds ([`Listing`]), and in what two differ ([`ModelDifference`]).

mod difference;
mod listing;
mod numbers;

pub use difference::{Change, Entry, InitializerChange, ModelDifference, NodeChange};
pub use listing::{Counted, ListedNode, ListedParameter, Listing, Typed};
pub use numbers::Distance;
